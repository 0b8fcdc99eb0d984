/** The editor is most of the code: it comes when a page is opened, and the list asks for it early. */
export const loadPageScreen = () => import("./screen");
