// Screens that say that something is not there, not allowed, or broken.

import type { ComponentChildren } from "preact";
import { ApiError, Unreachable } from "../errors";
import type { Dictionary } from "../i18n/en";
import { words } from "../i18n/language";
import { follow } from "../router";

export function Problem({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <main class="centre" data-testid="problem">
      <h1>{title}</h1>
      {children}
    </main>
  );
}

export function NotFound() {
  const t = words.value;
  return (
    <Problem title={t.problem.notFound}>
      <p>{t.problem.notFoundText}</p>
      <ToPages />
    </Problem>
  );
}

export function Denied() {
  const t = words.value;
  return (
    <div class="empty" data-testid="problem">
      <h1>{t.problem.denied}</h1>
      <p>{t.problem.deniedText}</p>
      <ToPages />
    </div>
  );
}

function ToPages() {
  return (
    <a class="button" href="/" onClick={follow}>
      {words.value.toPages}
    </a>
  );
}

export function BrokenConfig({ detail }: { detail: string }) {
  const t = words.value;
  return (
    <Problem title={t.problem.config}>
      <p>{t.problem.configText}</p>
      <pre class="detail">{detail}</pre>
      <button type="button" class="button" onClick={() => location.reload()}>
        {t.retry}
      </button>
    </Problem>
  );
}

export function Insecure() {
  const t = words.value;
  return (
    <Problem title={t.problem.config}>
      <p>{t.problem.insecure}</p>
    </Problem>
  );
}

/** One sentence for `error`. */
export function sentenceFor(error: unknown, t: Dictionary): string {
  if (error instanceof Unreachable) return t.problem.unreachable;
  if (error instanceof ApiError) {
    return error.code === "not_found" ? t.problem.notFound : t.problem.refused(error.message);
  }
  return t.problem.unexpected;
}

export function Failure({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  const t = words.value;
  return (
    <div class="failure" role="alert">
      <p>{sentenceFor(error, t)}</p>
      <button type="button" class="button" onClick={onRetry}>
        {t.retry}
      </button>
    </div>
  );
}
