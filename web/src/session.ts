// Who is signed in: Cognito's hosted login (authorization code, PKCE, state), tokens and their renewal.
//
// The tokens are kept in localStorage, not sessionStorage: a page opened in a second tab must be signed in
// too, and all tabs must share one refresh token. What guards them against scripts that are not ours is the
// content security policy, which would have to guard sessionStorage just the same.

import { signal } from "@preact/signals";
import type { Config } from "./config";
import { SignedOut, SignInFailed, Unreachable } from "./errors";
import { challengeOf, randomText } from "./pkce";

export interface Person {
  /** Cognito's `sub`. */
  id: string;
  name: string;
}

interface Tokens {
  access: string;
  id: string;
  refresh: string | null;
  /** When the access token ends: milliseconds since 1970, by this machine's clock. */
  expires: number;
}

/** What must survive the trip to the hosted login. It stays in the tab that made the trip. */
interface Trip {
  state: string;
  verifier: string;
  /** Path of the page that was asked for. */
  returnTo: string;
}

/** The browser, as far as a session needs it; tests give another one. */
export interface Browser {
  tokens: Storage;
  trips: Storage;
  fetch: typeof fetch;
  now: () => number;
  /** Runs `work` while no other tab runs its own. */
  exclusively: <T>(work: () => Promise<T>) => Promise<T>;
}

export const TOKENS_KEY = "zedi.tokens";
const TRIP_KEY = "zedi.trip";
const SCOPES = "openid email profile";
/** A token this close to its end (ms) is renewed before it is used. */
const MARGIN = 5 * 60_000;
/** Longest wait for the token endpoint (ms). */
const PATIENCE = 15_000;

export class Session {
  readonly person = signal<Person | null>(null);
  /** True when a session ended by itself: the sign-in screen says so. */
  readonly ended = signal(false);
  #renewal: Promise<string> | null = null;

  constructor(
    private readonly config: Config,
    private readonly browser: Browser,
  ) {
    this.follow();
  }

  /** Reads again what the storage holds: at the start, and when another tab signed in or out. */
  follow(): void {
    const tokens = this.#read();
    const person = tokens ? personOf(tokens.id) : null;
    if (person?.id !== this.person.peek()?.id) this.person.value = person;
  }

  /** The address of the hosted login. Remembers `returnTo` for when it sends us back. */
  async signInAddress(returnTo: string, language: string): Promise<string> {
    const trip: Trip = { state: randomText(), verifier: randomText(), returnTo };
    this.browser.trips.setItem(TRIP_KEY, JSON.stringify(trip));
    const query = new URLSearchParams({
      response_type: "code",
      client_id: this.config.client_id,
      redirect_uri: this.config.redirect_uri,
      scope: SCOPES,
      state: trip.state,
      code_challenge: await challengeOf(trip.verifier),
      code_challenge_method: "S256",
      lang: language,
    });
    return `${this.config.hosted_ui_url}/oauth2/authorize?${query}`;
  }

  /** Takes what the hosted login sent back; gives the path to go on to. Throws SignInFailed. */
  async completeSignIn(query: URLSearchParams): Promise<string> {
    const trip = parse<Trip>(this.browser.trips.getItem(TRIP_KEY));
    this.browser.trips.removeItem(TRIP_KEY);
    // Somebody came back here by the browser's history: there is nothing left to do.
    if (!trip && this.person.value) return "/";
    const code = query.get("code");
    const ours = trip !== null && query.get("state") === trip.state;
    if (query.has("error")) {
      // Shown to the person, so only when it comes from the trip that they made.
      const detail = query.get("error_description") ?? query.get("error") ?? "";
      throw new SignInFailed("refused", ours ? detail : "");
    }
    if (!ours || !code) throw new SignInFailed("mismatch", "");
    let response: Response;
    try {
      response = await this.#askForTokens({
        grant_type: "authorization_code",
        code,
        redirect_uri: this.config.redirect_uri,
        code_verifier: trip.verifier,
      });
    } catch (error) {
      throw new SignInFailed("unreachable", error instanceof Error ? error.message : "");
    }
    if (!response.ok) {
      throw new SignInFailed("expired", `${response.status} ${await errorNameOf(response)}`);
    }
    try {
      this.#write(await this.#tokensIn(response, null));
    } catch (error) {
      throw new SignInFailed("unreachable", error instanceof Error ? error.message : "");
    }
    this.ended.value = false;
    // Only a path of ours: never an address that somebody else chose.
    return /^\/(?!\/)/.test(trip.returnTo) ? trip.returnTo : "/";
  }

  /**
   * An access token that is good for some minutes; `refused` is one that a server did not take, if any.
   * However many ask at once, in however many tabs, the refresh token is spent once.
   * Throws SignedOut, or Unreachable when the token cannot be renewed now.
   */
  async accessToken(refused?: string): Promise<string> {
    const tokens = this.#read();
    if (!tokens) throw this.#end();
    if (tokens.access !== refused && tokens.expires - this.browser.now() > MARGIN) return tokens.access;
    this.#renewal ??= this.browser
      .exclusively(() => this.#renew(tokens.access, refused === tokens.access))
      .finally(() => {
        this.#renewal = null;
      });
    return this.#renewal;
  }

  /** Forgets the tokens here and at Cognito; gives the address that ends the hosted login's own session. */
  signOut(): string {
    const refresh = this.#read()?.refresh;
    this.browser.tokens.removeItem(TOKENS_KEY);
    this.ended.value = false;
    this.person.value = null;
    if (refresh) {
      this.browser
        .fetch(`${this.config.hosted_ui_url}/oauth2/revoke`, {
          method: "POST",
          body: new URLSearchParams({ token: refresh, client_id: this.config.client_id }),
          keepalive: true, // the page is about to be left
        })
        .catch((error: unknown) => console.warn("The refresh token could not be revoked:", error));
    }
    const query = new URLSearchParams({
      client_id: this.config.client_id,
      logout_uri: this.config.logout_uri,
    });
    return `${this.config.hosted_ui_url}/logout?${query}`;
  }

  async #renew(stale: string, refused: boolean): Promise<string> {
    const tokens = this.#read();
    if (!tokens) throw this.#end();
    if (tokens.access !== stale) return tokens.access; // another tab was first
    if (!tokens.refresh) throw this.#end();
    let response: Response | null = null;
    let failure = "";
    try {
      response = await this.#askForTokens({ grant_type: "refresh_token", refresh_token: tokens.refresh });
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
    }
    if (response?.ok) {
      const renewed = await this.#tokensIn(response, tokens.refresh);
      // Signed out while the answer was on its way: the answer must not sign in again.
      if (!this.#read()) throw new SignedOut();
      this.#write(renewed);
      return renewed.access;
    }
    if (response && response.status >= 400 && response.status < 500 && response.status !== 429) {
      throw this.#end();
    }
    if (!refused && tokens.expires > this.browser.now()) return tokens.access;
    throw new Unreachable(failure || `HTTP ${response?.status}`);
  }

  #askForTokens(fields: Record<string, string>): Promise<Response> {
    return this.browser.fetch(`${this.config.hosted_ui_url}/oauth2/token`, {
      method: "POST",
      body: new URLSearchParams({ ...fields, client_id: this.config.client_id }),
      signal: AbortSignal.timeout(PATIENCE),
    });
  }

  async #tokensIn(response: Response, refresh: string | null): Promise<Tokens> {
    const data = parse<{
      access_token: string;
      id_token: string;
      refresh_token?: string;
      expires_in: number;
    }>(await response.text());
    // A proxy's page of HTML comes with 200 as well.
    if (!data?.access_token || !personOf(data.id_token) || !(data.expires_in > 0)) {
      throw new Unreachable("The answer of the token endpoint holds no tokens.");
    }
    return {
      access: data.access_token,
      id: data.id_token,
      // Cognito gives a new one only where rotation is switched on.
      refresh: data.refresh_token ?? refresh,
      expires: this.browser.now() + data.expires_in * 1000,
    };
  }

  #read(): Tokens | null {
    return parse<Tokens>(this.browser.tokens.getItem(TOKENS_KEY));
  }

  #write(tokens: Tokens): void {
    this.browser.tokens.setItem(TOKENS_KEY, JSON.stringify(tokens));
    this.follow();
  }

  #end(): SignedOut {
    this.browser.tokens.removeItem(TOKENS_KEY);
    if (this.person.value) this.ended.value = true;
    this.person.value = null;
    return new SignedOut();
  }
}

export function thisBrowser(): Browser {
  return {
    tokens: localStorage,
    trips: sessionStorage,
    fetch: (...request) => fetch(...request),
    now: Date.now,
    exclusively: (work) => navigator.locks.request(TOKENS_KEY, work),
  };
}

/** The person that an ID token speaks of, or null when it cannot be read. */
export function personOf(idToken: string): Person | null {
  try {
    const payload = idToken.split(".")[1] ?? "";
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (c) =>
      c.charCodeAt(0),
    );
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const text = (key: string) => (typeof claims[key] === "string" ? claims[key].trim() : "");
    const id = text("sub");
    if (!id) return null;
    return { id, name: text("custom:display_name") || text("name") || text("email").split("@")[0] || id };
  } catch {
    return null; // not a token: whoever stored it, nobody is signed in
  }
}

function parse<T>(json: string | null): T | null {
  if (!json) return null;
  try {
    return JSON.parse(json) as T;
  } catch {
    return null; // storage that somebody edited counts as empty
  }
}

async function errorNameOf(response: Response): Promise<string> {
  const answer = parse<{ error?: string }>(await response.text());
  return answer?.error ?? "";
}
