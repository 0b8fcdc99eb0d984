// One page: title, text, who is here, and whether it is saved.

import { useSignal } from "@preact/signals";
import type { Editor } from "@tiptap/core";
import { useEffect, useRef } from "preact/hooks";
import type { Api } from "../api";
import { ApiError, SignedOut } from "../errors";
import { words } from "../i18n/language";
import { forgetPage, unsent } from "../kept";
import { Denied, Failure, NotFound } from "../screens/problem";
import type { Person, Session } from "../session";
import { Connection, type Status } from "./connection";
import { createEditor } from "./editor";
import { People } from "./presence";
import { Title } from "./title";
import { Toolbar } from "./toolbar";
import "../style/editor.css";

export interface PageScreenProps {
  id: string;
  api: Api;
  person: Person;
  session: Session;
  websocketUrl: string;
}

export function PageScreen({ id, api, person, session, websocketUrl }: PageScreenProps) {
  const connection = useSignal<Connection | null>(null);
  const editor = useSignal<Editor | null>(null);
  const title = useSignal<string | null>(null);
  const missing = useSignal(false);
  const failure = useSignal<unknown>(null);
  const surface = useRef<HTMLDivElement>(null);
  /** Somebody left the title for a text that was not there yet. */
  const awaited = useRef(false);

  function rename(name: string) {
    title.value = name;
    void connection.peek()?.copy.then((copy) => copy?.setTitle(name));
  }

  async function load() {
    try {
      rename((await api.page(id)).title);
      failure.value = null;
    } catch (error) {
      if (error instanceof SignedOut) return;
      if (error instanceof ApiError && (error.status === 404 || error.code === "invalid")) {
        missing.value = true;
        // Words that nobody else has are not thrown away, whatever became of the page.
        if (!unsent.peek().has(id)) await forgetPage(person.id, id);
        return;
      }
      const kept = await connection.peek()?.copy.then((copy) => copy?.title());
      if (title.peek() === null && typeof kept === "string") title.value = kept;
      if (title.peek() === null) failure.value = error;
    }
  }

  const open = connection.value;
  const ready = open?.ready.value ?? false;
  const shown = ready && !missing.value;
  // Before the next effect, so that the editor goes before the connection that it hangs on.
  useEffect(() => {
    if (!open || !shown || !surface.current) return;
    const created = createEditor(surface.current, open, person);
    editor.value = created;
    if (awaited.current) created.commands.focus("start");
    return () => {
      editor.value = null;
      created.destroy();
    };
  }, [open, shown]);

  useEffect(() => {
    const opened = new Connection(id, person, session, websocketUrl, rename);
    connection.value = opened;
    void load();
    // A page that cannot be opened may be one that was deleted just now; and what was out of reach may be back.
    const stop = opened.status.subscribe((status) => {
      if (status === "denied" || (status === "saved" && title.peek() === null)) void load();
    });
    return () => {
      stop();
      opened.close();
    };
  }, []);

  const t = words.value;
  const denied = open?.status.value === "denied";
  const readOnly = denied || (open?.readOnly.value ?? false);
  useEffect(() => editor.value?.setEditable(!readOnly, false), [editor.value, readOnly]);
  useEffect(() => {
    const dom = editor.value?.view.dom;
    dom?.setAttribute("aria-label", t.page.text);
    // The placeholder is a decoration: an empty transaction draws it in the new language.
    if (editor.value) editor.value.view.dispatch(editor.value.state.tr);
  }, [editor.value, t]);

  if (missing.value) return <NotFound />;
  return (
    <main class="page">
      <div class="bar">
        {editor.value && !readOnly ? <Toolbar editor={editor.value} /> : <span class="tools-area" />}
        <div class="bar-end">
          {open && <StatusLine connection={open} />}
          {open && <People people={open.people.value} me={person.id} />}
        </div>
      </div>
      <article class="sheet">
        {denied && !ready && <Denied />}
        {failure.value !== null && <Failure error={failure.value} onRetry={() => void load()} />}
        {!(denied && !ready) && (
          <Title
            api={api}
            page={id}
            title={title}
            readOnly={readOnly}
            onSend={(name) => {
              rename(name);
              open?.announceTitle(name);
            }}
            onLeave={() => {
              awaited.current = true;
              editor.value?.commands.focus("start");
            }}
          />
        )}
        {!ready && !denied && <p class="loading">{t.loading}</p>}
        <div ref={surface} class="surface" />
      </article>
    </main>
  );
}

const STATES: Record<Status, "saved" | "saving" | "offline" | "denied"> = {
  connecting: "saving",
  saving: "saving",
  saved: "saved",
  offline: "offline",
  denied: "denied",
  "signed-out": "denied",
};

function StatusLine({ connection }: { connection: Connection }) {
  const t = words.value;
  const status = connection.status.value;
  const texts: Record<Status, string> = {
    connecting: t.status.connecting,
    saving: t.status.saving,
    saved: connection.readOnly.value ? t.page.readOnly : t.status.saved,
    offline: connection.keeps.value ? t.status.offline : t.status.offlineUnkept,
    denied: t.status.denied,
    "signed-out": t.status.signedOut,
  };
  const state = STATES[status];
  return (
    // Read aloud only when something is wrong: "saving, saved" at every key would drown the words.
    <p
      class="status"
      data-testid="status"
      data-state={state}
      aria-live={state === "offline" || state === "denied" ? "polite" : "off"}
    >
      <span class="dot" aria-hidden="true" />
      <span>{texts[status]}</span>
      {status === "denied" && (
        <button type="button" class="text-button" onClick={() => connection.retry()}>
          {t.retry}
        </button>
      )}
    </p>
  );
}
