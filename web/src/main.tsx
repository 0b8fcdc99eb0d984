import { render } from "preact";
import { Api } from "./api";
import { App } from "./app";
import { ConfigError, loadConfig } from "./config";
import { startLanguage } from "./i18n/language";
import { BrokenConfig, Insecure } from "./screens/problem";
import { Session, thisBrowser, TOKENS_KEY } from "./session";
import "./style/base.css";
import "./style/shell.css";

async function start(): Promise<void> {
  const root = document.getElementById("app");
  if (!root) throw new Error("index.html has no #app");
  startLanguage();
  // Browsers give crypto.subtle and locks, which signing in needs, to secure pages only.
  if (!isSecureContext) {
    render(<Insecure />, root);
    return;
  }
  try {
    const config = await loadConfig();
    const session = new Session(config, thisBrowser());
    addEventListener("storage", (event) => {
      if (event.key === TOKENS_KEY || event.key === null) session.follow();
    });
    const api = new Api(config.api_url, (refused) => session.accessToken(refused));
    render(<App config={config} session={session} api={api} />, root);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    render(<BrokenConfig detail={error.message} />, root);
  }
}

void start();
