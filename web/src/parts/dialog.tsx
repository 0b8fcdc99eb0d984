import { useEffect, useId, useRef } from "preact/hooks";
import { words } from "../i18n/language";

interface DialogProps {
  title: string;
  text: string;
  /** What the button that does it says; the other one cancels. */
  confirm: string;
  onConfirm: () => void;
  onClose: () => void;
}

/** Asks before something that cannot be undone. */
export function Dialog({ title, text, confirm, onConfirm, onClose }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => element.current?.showModal(), []);
  return (
    <dialog
      ref={element}
      class="dialog"
      aria-labelledby={heading}
      onClose={onClose}
      onClick={(event) => {
        if (event.target === element.current) element.current?.close();
      }}
    >
      <form method="dialog" class="dialog-body">
        <h2 id={heading}>{title}</h2>
        <p>{text}</p>
        <div class="dialog-buttons">
          <button type="submit" class="button">
            {words.value.cancel}
          </button>
          <button type="button" class="button danger" data-testid="confirm" onClick={onConfirm}>
            {confirm}
          </button>
        </div>
      </form>
    </dialog>
  );
}
