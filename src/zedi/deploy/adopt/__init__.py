"""What Terraform made, taken under the templates without touching it: import change sets.

    state       reads what `terraform show -json` prints
    known       which Terraform resource is which of ours, and its properties in CloudFormation's words
    intrinsics  what a template's expressions come to, as far as that is known
    plan        what would be taken over, what stands in the way, what the next deploy would change
    settings    the settings that would make the templates say what is there
    execute     the import change sets, phase after phase

An import records; it is not meant to change. But CloudFormation compares the next template with the imported
one, not with what is there, and may call the type's update handler while it imports. Hence the imported
template says what *is*, wherever that can be changed later: the next deploy's change set then shows the truth
before it is done. Where a property can never be changed, it says what our template says, or the resource is
not taken over at all: a difference there would be a replacement.

Only the four phases that hold what cannot be made again: networking, security, database, cache.
"""
