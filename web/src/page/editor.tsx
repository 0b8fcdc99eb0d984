// The editor: Tiptap on the page's document.

import { Editor } from "@tiptap/core";
import { Blockquote } from "@tiptap/extension-blockquote";
import { Bold } from "@tiptap/extension-bold";
import { Code } from "@tiptap/extension-code";
import { CodeBlock } from "@tiptap/extension-code-block";
import { Collaboration } from "@tiptap/extension-collaboration";
import { CollaborationCaret } from "@tiptap/extension-collaboration-caret";
import { Document } from "@tiptap/extension-document";
import { HardBreak } from "@tiptap/extension-hard-break";
import { Heading } from "@tiptap/extension-heading";
import { HorizontalRule } from "@tiptap/extension-horizontal-rule";
import { Italic } from "@tiptap/extension-italic";
import { Link } from "@tiptap/extension-link";
import { BulletList, ListItem, ListKeymap, OrderedList } from "@tiptap/extension-list";
import { Paragraph } from "@tiptap/extension-paragraph";
import { Strike } from "@tiptap/extension-strike";
import { Text } from "@tiptap/extension-text";
import { Dropcursor, Gapcursor, Placeholder } from "@tiptap/extensions";
import type { EditorView } from "@tiptap/pm/view";
import { words } from "../i18n/language";
import type { Person } from "../session";
import { type Connection, FIELD } from "./connection";
import { presenceIn, presenceOf } from "./people";

export const HEADING_LEVELS = [1, 2, 3] as const;

export function createEditor(element: HTMLElement, connection: Connection, person: Person): Editor {
  return new Editor({
    element,
    injectCSS: false, // style/editor.css has it: no style from a script
    editable: !connection.readOnly.peek(),
    editorProps: {
      attributes: {
        class: "text",
        "data-testid": "editor",
        role: "textbox",
        "aria-multiline": "true",
      },
      handleDOMEvents: { click: followLink },
    },
    extensions: [
      Document,
      Paragraph,
      Text,
      Heading.configure({ levels: [...HEADING_LEVELS] }),
      Bold,
      Italic,
      Strike,
      Code,
      BulletList,
      OrderedList,
      ListItem,
      ListKeymap,
      Blockquote,
      CodeBlock,
      HorizontalRule,
      HardBreak,
      Link.configure({
        openOnClick: false, // see followLink
        defaultProtocol: "https",
        HTMLAttributes: { rel: "noopener noreferrer nofollow", target: "_blank" },
      }),
      Placeholder.configure({ placeholder: () => words.peek().page.placeholder }),
      Dropcursor.configure({ class: "dropcursor", color: false }),
      Gapcursor,
      Collaboration.configure({ document: connection.document, field: FIELD }),
      CollaborationCaret.configure({
        provider: connection.link,
        user: presenceOf(person),
        render: caretOf,
        selectionRender: selectionOf,
      }),
    ],
  });
}

// A plain click sets the caret. Where nothing can be edited the browser follows links by itself.
function followLink(view: EditorView, event: MouseEvent): boolean {
  if (!view.editable || !(event.ctrlKey || event.metaKey)) return false;
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link) return false;
  open(link.href, "_blank", "noopener,noreferrer");
  return true;
}

// The name is an attribute that the stylesheet shows: as text it would be part of what is selected, copied and
// searched. The colour goes through the CSSOM, which a content security policy allows where it refuses style
// attributes.
function caretOf(user: unknown): HTMLElement {
  const presence = presenceIn({ user });
  const caret = document.createElement("span");
  caret.className = "caret";
  caret.style.setProperty("--person", presence?.color ?? "#7b6f66");
  caret.dataset.name = presence?.name ?? "";
  return caret;
}

function selectionOf(user: unknown): { class: string; style: string } {
  const color = presenceIn({ user })?.color ?? "#7b6f66";
  return { class: "selection", style: `background-color: ${color}40` };
}
