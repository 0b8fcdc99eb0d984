import assert from "node:assert/strict";
import { test } from "node:test";
import type { Config } from "../src/config";
import { SignedOut, SignInFailed, Unreachable } from "../src/errors";
import { challengeOf } from "../src/pkce";
import { type Browser, personOf, Session, TOKENS_KEY } from "../src/session";

const config = {
  hosted_ui_url: "https://login.example",
  client_id: "client",
  redirect_uri: "https://zedi.example/callback",
  logout_uri: "https://zedi.example",
} as Config;

function idToken(claims: object): string {
  return `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;
}

class MemoryStorage implements Storage {
  readonly #items = new Map<string, string>();
  [name: string]: unknown;
  get length() {
    return this.#items.size;
  }
  key = (index: number) => [...this.#items.keys()][index] ?? null;
  getItem = (key: string) => this.#items.get(key) ?? null;
  setItem = (key: string, value: string) => void this.#items.set(key, value);
  removeItem = (key: string) => void this.#items.delete(key);
  clear = () => this.#items.clear();
}

/** What two tabs of one browser share, and a token endpoint that counts. */
function world() {
  const tokens = new MemoryStorage();
  let turn: Promise<unknown> = Promise.resolve();
  const asked: URLSearchParams[] = [];
  const clock = { now: 1_000_000 };
  const endpoint = {
    answer: (): Response | Promise<Response> =>
      Response.json({
        access_token: `access-${asked.length}`,
        id_token: idToken({ sub: "hanako", "custom:display_name": "花子" }),
        refresh_token: "refresh",
        expires_in: 3600,
      }),
  };
  const tab = () => {
    const browser: Browser = {
      tokens,
      trips: new MemoryStorage(),
      fetch: async (_address, request) => {
        asked.push(new URLSearchParams(request?.body as URLSearchParams));
        await new Promise((resolve) => setImmediate(resolve));
        return endpoint.answer();
      },
      now: () => clock.now,
      exclusively: (work) => {
        const mine = turn.then(work);
        turn = mine.catch(() => undefined);
        return mine;
      },
    };
    return new Session(config, browser);
  };
  return { tokens, asked, clock, endpoint, tab };
}

async function signIn(session: Session, returnTo = "/"): Promise<string> {
  const address = new URL(await session.signInAddress(returnTo, "ja"));
  const state = address.searchParams.get("state") ?? "";
  return session.completeSignIn(new URLSearchParams({ code: "code", state }));
}

test("the sign-in address carries code flow, PKCE and state, and the exchange proves the verifier", async () => {
  const { tab, asked } = world();
  const session = tab();
  const address = new URL(await session.signInAddress("/p/1", "ja"));
  const query = address.searchParams;
  assert.equal(address.origin + address.pathname, "https://login.example/oauth2/authorize");
  assert.equal(query.get("response_type"), "code");
  assert.equal(query.get("scope"), "openid email profile");
  assert.equal(query.get("code_challenge_method"), "S256");
  assert.equal(query.get("redirect_uri"), config.redirect_uri);

  const answer = new URLSearchParams({ code: "code", state: query.get("state") ?? "" });
  assert.equal(await session.completeSignIn(answer), "/p/1");
  assert.equal(asked[0]?.get("grant_type"), "authorization_code");
  assert.equal(await challengeOf(asked[0]?.get("code_verifier") ?? ""), query.get("code_challenge"));
  assert.deepEqual(session.person.value, { id: "hanako", name: "花子" });
});

test("an answer with a wrong state, or to a trip nobody made, is refused and no code is spent", async () => {
  const { tab, asked } = world();
  const session = tab();
  await session.signInAddress("/", "en");
  for (const state of ["wrong", "wrong again: the trip is over"]) {
    await assert.rejects(
      session.completeSignIn(new URLSearchParams({ code: "code", state })),
      (error) => error instanceof SignInFailed && error.reason === "mismatch",
    );
  }
  assert.equal(asked.length, 0);
});

test("a refusal, an expired code and a silent service each have their own reason", async () => {
  const { tab, endpoint } = world();
  const session = tab();
  const reasonOf = async (answer: Record<string, string>) => {
    const address = new URL(await session.signInAddress("/", "en"));
    const state = address.searchParams.get("state") ?? "";
    return session.completeSignIn(new URLSearchParams({ state, ...answer })).then(
      () => "none",
      (error: unknown) => (error instanceof SignInFailed ? error.reason : String(error)),
    );
  };
  assert.equal(await reasonOf({ error: "access_denied" }), "refused");
  endpoint.answer = () => Response.json({ error: "invalid_grant" }, { status: 400 });
  assert.equal(await reasonOf({ code: "old" }), "expired");
  endpoint.answer = () => Promise.reject(new TypeError("no network"));
  assert.equal(await reasonOf({ code: "new" }), "unreachable");
  endpoint.answer = () => new Response("<html>");
  assert.equal(await reasonOf({ code: "newer" }), "unreachable");
});

test("signing in never leads to an address outside of the product", async () => {
  const { tab } = world();
  assert.equal(await signIn(tab(), "//evil.example/x"), "/");
  assert.equal(await signIn(tab(), "https://evil.example"), "/");
});

test("a token with time left is used as it is, one near its end is renewed before it is used", async () => {
  const { tab, asked, clock } = world();
  const session = tab();
  await signIn(session);
  assert.equal(await session.accessToken(), "access-1");
  clock.now += 54 * 60_000;
  assert.equal(await session.accessToken(), "access-1");
  clock.now += 2 * 60_000;
  assert.equal(await session.accessToken(), "access-2");
  assert.equal(asked[1]?.get("grant_type"), "refresh_token");
});

test("however many ask in two tabs, the refresh token is spent once", async () => {
  const { tab, asked, clock } = world();
  const one = tab();
  await signIn(one);
  const two = tab();
  clock.now += 3600_000;
  const given = await Promise.all([one, two, one, two, one].map((session) => session.accessToken()));
  assert.deepEqual(new Set(given), new Set(["access-2"]));
  assert.equal(asked.length, 2);
});

test("a token that a server refused is renewed at once, unless it has been already", async () => {
  const { tab, asked } = world();
  const session = tab();
  await signIn(session);
  assert.equal(await session.accessToken("access-1"), "access-2");
  assert.equal(await session.accessToken("access-1"), "access-2");
  assert.equal(asked.length, 2);
});

test("a refused refresh token ends the session, here and in the other tab", async () => {
  const { tab, endpoint, clock } = world();
  const one = tab();
  await signIn(one);
  const two = tab();
  clock.now += 3600_000;
  endpoint.answer = () => Response.json({ error: "invalid_grant" }, { status: 400 });
  await assert.rejects(one.accessToken(), SignedOut);
  assert.equal(one.person.value, null);
  assert.equal(one.ended.value, true);
  two.follow();
  assert.equal(two.person.value, null);
});

test("without a network a token that still works is used, and none is thrown away", async () => {
  const { tab, tokens, endpoint, clock } = world();
  const session = tab();
  await signIn(session);
  endpoint.answer = () => Promise.reject(new TypeError("no network"));
  clock.now += 57 * 60_000;
  assert.equal(await session.accessToken(), "access-1");
  clock.now += 4 * 60_000;
  await assert.rejects(session.accessToken(), Unreachable);
  assert.notEqual(tokens.getItem(TOKENS_KEY), null);
  assert.equal(session.person.value?.id, "hanako");
});

test("an answer that arrives after signing out does not sign in again", async () => {
  const { tab, tokens, clock } = world();
  const session = tab();
  await signIn(session);
  clock.now += 3600_000;
  const renewal = session.accessToken();
  await new Promise((resolve) => setImmediate(() => resolve(session.signOut())));
  await assert.rejects(renewal, SignedOut);
  assert.equal(tokens.getItem(TOKENS_KEY), null);
});

test("a name is the display name, else the name, else the start of the address", () => {
  const all = { sub: "1", "custom:display_name": "花子", name: "Hanako", email: "h@example.com" };
  assert.equal(personOf(idToken(all))?.name, "花子");
  assert.equal(personOf(idToken({ ...all, "custom:display_name": " " }))?.name, "Hanako");
  assert.equal(personOf(idToken({ sub: "1", email: "h@example.com" }))?.name, "h");
  assert.equal(personOf("not a token"), null);
});
