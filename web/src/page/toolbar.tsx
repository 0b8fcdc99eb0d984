import { useSignal } from "@preact/signals";
import type { Editor } from "@tiptap/core";
import { isAllowedUri } from "@tiptap/extension-link";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useReducer, useRef } from "preact/hooks";
import { words } from "../i18n/language";
import {
  BoldIcon,
  BulletListIcon,
  CodeBlockIcon,
  CodeIcon,
  HeadingIcon,
  ItalicIcon,
  LinkIcon,
  OrderedListIcon,
  QuoteIcon,
  RedoIcon,
  RuleIcon,
  StrikeIcon,
  UndoIcon,
} from "../parts/icons";
import { HEADING_LEVELS } from "./editor";

const MOD = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl+";

export function Toolbar({ editor }: { editor: Editor }) {
  const t = words.value.tools;
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const linking = useSignal(false);
  const bar = useRef<HTMLDivElement>(null);

  useEffect(() => {
    // Others' edits are transactions too: many of them are one redraw.
    let frame = 0;
    const changed = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        redraw(undefined);
      });
    };
    const shortcut = (event: KeyboardEvent) => {
      if (event.isComposing || event.key.toLowerCase() !== "k") return;
      if (!(event.metaKey || event.ctrlKey) || event.shiftKey || event.altKey) return;
      event.preventDefault();
      linking.value = true;
    };
    const text = editor.view.dom; // a destroyed editor has none to take the listener from
    editor.on("transaction", changed);
    text.addEventListener("keydown", shortcut);
    return () => {
      cancelAnimationFrame(frame);
      editor.off("transaction", changed);
      text.removeEventListener("keydown", shortcut);
    };
  }, [editor]);

  const run = () => editor.chain().focus();
  const tool = (
    label: string,
    keys: string,
    icon: ComponentChildren,
    act: () => void,
    state: { active?: boolean; disabled?: boolean } = {},
  ) => (
    <button
      key={label}
      type="button"
      class="tool"
      tabIndex={-1}
      aria-label={label}
      title={keys ? `${label} (${keys})` : label}
      aria-pressed={state.active}
      aria-disabled={state.disabled}
      // The caret stays where it is, and a composition is not broken off.
      onPointerDown={(event) => event.preventDefault()}
      onMouseDown={(event) => event.preventDefault()}
      onClick={() => {
        if (!state.disabled) act();
      }}
    >
      {icon}
    </button>
  );

  return (
    <div class="tools-area">
      <div
        class="tools"
        role="toolbar"
        aria-label={t.label}
        ref={(element) => {
          bar.current = element;
          // One stop of the Tab key; the arrow keys go on from there.
          if (element && !element.querySelector('[tabindex="0"]'))
            element.querySelector("button")?.setAttribute("tabindex", "0");
        }}
        onKeyDown={walk}
      >
        {tool(t.undo, `${MOD}Z`, <UndoIcon />, () => run().undo().run(), { disabled: !editor.can().undo() })}
        {tool(t.redo, MOD === "⌘" ? "⇧⌘Z" : "Ctrl+Y", <RedoIcon />, () => run().redo().run(), {
          disabled: !editor.can().redo(),
        })}
        <span class="tools-gap" />
        {HEADING_LEVELS.map((level) =>
          tool(
            t.heading(level),
            `${MOD}Alt+${level}`,
            <HeadingIcon level={level} />,
            () => run().toggleHeading({ level }).run(),
            { active: editor.isActive("heading", { level }) },
          ),
        )}
        <span class="tools-gap" />
        {tool(t.bold, `${MOD}B`, <BoldIcon />, () => run().toggleBold().run(), {
          active: editor.isActive("bold"),
        })}
        {tool(t.italic, `${MOD}I`, <ItalicIcon />, () => run().toggleItalic().run(), {
          active: editor.isActive("italic"),
        })}
        {tool(t.strike, `${MOD}Shift+S`, <StrikeIcon />, () => run().toggleStrike().run(), {
          active: editor.isActive("strike"),
        })}
        {tool(t.code, `${MOD}E`, <CodeIcon />, () => run().toggleCode().run(), {
          active: editor.isActive("code"),
        })}
        {tool(
          t.link,
          `${MOD}K`,
          <LinkIcon />,
          () => {
            linking.value = !linking.value;
          },
          { active: editor.isActive("link") },
        )}
        <span class="tools-gap" />
        {tool(t.bulletList, `${MOD}Shift+8`, <BulletListIcon />, () => run().toggleBulletList().run(), {
          active: editor.isActive("bulletList"),
        })}
        {tool(t.orderedList, `${MOD}Shift+7`, <OrderedListIcon />, () => run().toggleOrderedList().run(), {
          active: editor.isActive("orderedList"),
        })}
        {tool(t.quote, `${MOD}Shift+B`, <QuoteIcon />, () => run().toggleBlockquote().run(), {
          active: editor.isActive("blockquote"),
        })}
        {tool(t.codeBlock, `${MOD}Alt+C`, <CodeBlockIcon />, () => run().toggleCodeBlock().run(), {
          active: editor.isActive("codeBlock"),
        })}
        {tool(t.rule, "---", <RuleIcon />, () => run().setHorizontalRule().run())}
      </div>
      {linking.value && (
        <LinkForm
          editor={editor}
          onClose={() => {
            linking.value = false;
            editor.view.focus(); // at once: the command would wait for the next frame, and lose a key
          }}
        />
      )}
    </div>
  );
}

/** Arrow keys, Home and End move within the toolbar; it remembers where one was. */
function walk(event: JSX.TargetedKeyboardEvent<HTMLDivElement>): void {
  const tools = [...event.currentTarget.querySelectorAll<HTMLButtonElement>("button")];
  const at = tools.indexOf(document.activeElement as HTMLButtonElement);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tools.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const next = tools[(to + tools.length) % tools.length];
  for (const tool of tools) tool.setAttribute("tabindex", tool === next ? "0" : "-1");
  next?.focus();
}

function LinkForm({ editor, onClose }: { editor: Editor; onClose: () => void }) {
  const t = words.value.tools;
  const current = editor.getAttributes("link").href as string | undefined;
  const address = useSignal(current ?? "");
  const invalid = useSignal(false);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.select(), []);

  function set() {
    const text = address.value.trim();
    const href = /^[a-z][a-z0-9+.-]*:/i.test(text) || text.startsWith("/") ? text : `https://${text}`;
    // What could run as a script is refused.
    if (!isAllowedUri(href)) {
      invalid.value = true;
      return;
    }
    if (editor.state.selection.empty && !current) {
      editor.commands.insertContent({ type: "text", text, marks: [{ type: "link", attrs: { href } }] });
    } else {
      editor.chain().extendMarkRange("link").setLink({ href }).run();
    }
    onClose();
  }

  return (
    <form
      class="link-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (address.value.trim()) set();
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape" && !event.isComposing) onClose();
      }}
    >
      <input
        ref={input}
        class="input"
        type="text"
        inputMode="url"
        autocapitalize="off"
        spellcheck={false}
        placeholder="https://"
        aria-label={t.linkAddress}
        aria-invalid={invalid.value}
        value={address.value}
        onInput={(event) => {
          address.value = event.currentTarget.value;
          invalid.value = false;
        }}
      />
      <button type="submit" class="button small">
        {t.linkSet}
      </button>
      {current && (
        <button
          type="button"
          class="button small"
          onClick={() => {
            editor.chain().extendMarkRange("link").unsetLink().run();
            onClose();
          }}
        >
          {t.linkRemove}
        </button>
      )}
      {invalid.value && (
        <p class="form-error" role="alert">
          {t.linkInvalid}
        </p>
      )}
    </form>
  );
}
