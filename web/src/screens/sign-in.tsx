import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { SignInFailed } from "../errors";
import { language, words } from "../i18n/language";
import { go } from "../router";
import type { Session } from "../session";
import { Problem } from "./problem";

async function leaveToSignIn(session: Session, returnTo: string): Promise<void> {
  location.assign(await session.signInAddress(returnTo, language.peek()));
}

export function SignIn({ session }: { session: Session }) {
  const t = words.value;
  return (
    <main class="centre">
      <h1 class="wordmark">Zedi</h1>
      <p class="lead">{t.signIn.sentence}</p>
      {session.ended.value && (
        <p class="notice" role="status">
          {t.signIn.ended}
        </p>
      )}
      <button
        type="button"
        class="button primary"
        data-testid="sign-in"
        onClick={() => void leaveToSignIn(session, location.pathname)}
      >
        {t.signIn.button}
      </button>
    </main>
  );
}

/** Where the hosted login sends us back to. */
export function Callback({ session }: { session: Session }) {
  const t = words.value;
  const failure = useSignal<SignInFailed | null>(null);
  useEffect(() => {
    // A code works once: it goes out of the address bar before anything can ask for it twice.
    const query = new URLSearchParams(location.search);
    history.replaceState(null, "", location.pathname);
    session.completeSignIn(query).then(
      (returnTo) => go(returnTo, "replace"),
      (error: unknown) => {
        if (!(error instanceof SignInFailed)) throw error;
        failure.value = error;
      },
    );
  }, [session]);

  if (!failure.value) return <p class="loading">{t.signIn.working}</p>;
  return (
    <Problem title={t.signIn.failedTitle}>
      <p role="alert">{t.signIn.failed[failure.value.reason]}</p>
      {failure.value.message && <pre class="detail">{failure.value.message}</pre>}
      <button
        type="button"
        class="button primary"
        data-testid="sign-in"
        onClick={() => void leaveToSignIn(session, "/")}
      >
        {t.signIn.again}
      </button>
    </Problem>
  );
}
