// The shell: header, and the screen that the address bar asks for.

import { useSignal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import type { Api } from "./api";
import type { Config } from "./config";
import { words } from "./i18n/language";
import { forgetEverything, unsent } from "./kept";
import { loadPageScreen } from "./page/load";
import type { PageScreenProps } from "./page/screen";
import { Dialog } from "./parts/dialog";
import { Header } from "./parts/header";
import { path, routeOf } from "./router";
import { PagesScreen } from "./screens/pages";
import { Failure, NotFound } from "./screens/problem";
import { Callback, SignIn } from "./screens/sign-in";
import type { Session } from "./session";

interface AppProps {
  config: Config;
  session: Session;
  api: Api;
}

export function App({ config, session, api }: AppProps) {
  const asking = useSignal(false);
  const person = session.person.value;
  const route = routeOf(path.value, new URL(config.redirect_uri).pathname);

  async function signOut() {
    asking.value = false;
    // The screen goes first: an open page holds its copy open. The copies go before the browser does.
    const farewell = session.signOut();
    await forgetEverything();
    location.assign(farewell);
  }

  function askToSignOut() {
    if (unsent.value.size > 0) asking.value = true;
    else void signOut();
  }

  let screen = null;
  if (route.screen === "callback") screen = <Callback session={session} />;
  else if (!person) screen = <SignIn session={session} />;
  else if (route.screen === "pages") screen = <PagesScreen key={person.id} api={api} person={person} />;
  else if (route.screen === "page") {
    screen = (
      <LazyPage
        key={`${person.id} ${route.id}`}
        id={route.id}
        api={api}
        person={person}
        session={session}
        websocketUrl={config.websocket_url}
      />
    );
  } else screen = <NotFound />;

  const t = words.value;
  return (
    <>
      <Header person={person} onSignOut={askToSignOut} />
      {screen}
      {asking.value && (
        <Dialog
          title={t.signOut.unsentTitle}
          text={t.signOut.unsent(unsent.value.size)}
          confirm={t.signOut.anyway}
          onConfirm={() => void signOut()}
          onClose={() => {
            asking.value = false;
          }}
        />
      )}
    </>
  );
}

function LazyPage(props: PageScreenProps) {
  const loaded = useSignal<ComponentType<PageScreenProps> | null>(null);
  const failure = useSignal<unknown>(null);
  useEffect(() => {
    loadPageScreen().then(
      (module) => {
        loaded.value = module.PageScreen;
      },
      (error: unknown) => {
        failure.value = error;
      },
    );
  }, []);
  if (failure.value) return <Failure error={failure.value} onRetry={() => location.reload()} />;
  const Page = loaded.value;
  return Page ? <Page {...props} /> : <p class="loading">{words.value.loading}</p>;
}
