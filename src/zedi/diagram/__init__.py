"""A picture of what is deployed.

    model    what is drawn, as data: boxes, subnets, arrows; read off the inventory, nothing invented
    text     the model as boxes of characters, as wide as a terminal is
    svg      the model as a picture
    words    what stands in it, in two languages

An arrow is drawn where the templates' references say that one leads to the other (a security group that lets
the tasks in, an origin of the distribution). What is not deployed is drawn dashed, as the settings would make
it.

May import: settings, contract, phases, preflight's subject (it follows references), deploy, errors.
"""
