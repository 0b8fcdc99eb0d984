// The title of a page: written here by debounced PATCHes, told to the others with each.

import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { type Api, MAX_TITLE } from "../api";
import { SignedOut } from "../errors";
import { words } from "../i18n/language";

/** Pause in typing (ms) after which the title is sent. */
const PAUSE = 500;

interface TitleProps {
  api: Api;
  page: string;
  /** What the title is; null until it is known. */
  title: Signal<string | null>;
  readOnly: boolean;
  /** Called when it is sent, not when it is stored: whoever sends by leaving has no connection afterwards. */
  onSend: (title: string) => void;
  /** Enter: on to the text. */
  onLeave: () => void;
}

export function Title({ api, page, title, readOnly, onSend, onLeave }: TitleProps) {
  const t = words.value;
  const area = useRef<HTMLTextAreaElement>(null);
  const failed = useSignal(false);
  /** What is written and not sent yet; null: nothing. While it stands, others' titles wait. */
  const draft = useSignal<string | null>(null);
  const sending = useRef<Promise<void>>(Promise.resolve());
  const timer = useRef<ReturnType<typeof setTimeout>>();

  function send(): void {
    clearTimeout(timer.current);
    if (draft.peek() === null) return;
    onSend(draft.peek()?.trim() ?? "");
    // One after the other, so that the last one written is the last one stored.
    sending.current = sending.current.then(async () => {
      const written = draft.peek();
      if (written === null) return;
      try {
        const saved = (await api.rename(page, written.trim())).title;
        failed.value = false;
        if (draft.peek() !== written) return;
        draft.value = null;
        title.value = saved;
      } catch (error) {
        if (error instanceof SignedOut) return;
        failed.value = true; // the draft stays, and goes out with the next key, blur or return of the network
      }
    });
  }

  useEffect(() => {
    const again = () => {
      if (failed.peek()) send();
    };
    addEventListener("online", again);
    return () => {
      removeEventListener("online", again);
      send();
    };
  }, [page]);

  const shown = draft.value ?? title.value ?? "";
  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    const fit = () => {
      element.style.height = "auto";
      element.style.height = `${element.scrollHeight}px`;
    };
    fit();
    addEventListener("resize", fit);
    return () => removeEventListener("resize", fit);
  }, [shown]);
  useEffect(() => {
    document.title = `${shown.trim() || words.peek().untitled} · Zedi`;
  }, [shown, t]);
  // A page just made has no name yet: that is where one begins.
  const known = title.value !== null;
  useEffect(() => {
    if (title.peek() === "" && !readOnly) area.current?.focus();
  }, [known]);

  return (
    <>
      <textarea
        ref={area}
        class="title"
        data-testid="title"
        rows={1}
        maxLength={MAX_TITLE}
        aria-label={t.page.title}
        placeholder={t.untitled}
        readOnly={readOnly || !known}
        value={shown}
        onInput={(event) => {
          draft.value = event.currentTarget.value.replace(/[\r\n]+/g, " ");
          clearTimeout(timer.current);
          timer.current = setTimeout(send, PAUSE);
        }}
        onBlur={send}
        onKeyDown={(event) => {
          // During a composition Enter picks a candidate (229 is how Safari says so, after the fact).
          if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
          event.preventDefault();
          onLeave();
        }}
      />
      {failed.value && (
        <p class="form-error" role="alert">
          {t.page.titleNotSaved}{" "}
          <button type="button" class="text-button" onClick={send}>
            {t.retry}
          </button>
        </p>
      )}
    </>
  );
}
