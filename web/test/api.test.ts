import assert from "node:assert/strict";
import { test } from "node:test";
import { Api } from "../src/api";
import { ApiError, Unreachable } from "../src/errors";

function apiThat(...answers: (() => Response)[]) {
  const sent: { address: string; authorization: string | null; method: string | undefined }[] = [];
  const refused: (string | undefined)[] = [];
  const api = new Api(
    "https://zedi.example/api",
    async (token) => {
      refused.push(token);
      return token === undefined ? "old" : "new";
    },
    async (address, request) => {
      const authorization = new Headers(request?.headers).get("authorization");
      sent.push({ address: String(address), authorization, method: request?.method });
      const answer = answers[sent.length - 1];
      if (!answer) throw new TypeError("no network");
      return answer();
    },
  );
  return { api, sent, refused };
}

const unauthorized = () => Response.json({ error: { code: "unauthorized", message: "" } }, { status: 401 });

test("a refused token is renewed once and the call repeated", async () => {
  const { api, sent, refused } = apiThat(unauthorized, () => Response.json({ pages: [], next: null }));
  assert.deepEqual(await api.pages(), { pages: [], next: null });
  assert.deepEqual(
    sent.map((call) => call.authorization),
    ["Bearer old", "Bearer new"],
  );
  assert.deepEqual(refused, [undefined, "old"]);
});

test("a second refusal is an error, not a loop", async () => {
  const { api, sent } = apiThat(unauthorized, unauthorized, unauthorized);
  await assert.rejects(api.pages(), (error) => error instanceof ApiError && error.status === 401);
  assert.equal(sent.length, 2);
});

test("the API's own code and message reach the caller", async () => {
  const error = { code: "not_found", message: "There is no such page." };
  const { api } = apiThat(() => Response.json({ error }, { status: 404 }));
  await assert.rejects(
    api.page("1"),
    (thrown) => thrown instanceof ApiError && thrown.code === "not_found" && thrown.message === error.message,
  );
});

test("no network, a gateway's page and a full house are all 'try again'", async () => {
  for (const answers of [
    [],
    [() => new Response("<html>", { status: 502 })],
    [() => new Response("", { status: 429 })],
  ]) {
    await assert.rejects(apiThat(...answers).api.remove("1"), Unreachable);
  }
});

test("an answer in somebody else's words is told by its status", async () => {
  const { api } = apiThat(() => new Response("<html>", { status: 400 }));
  await assert.rejects(api.create(), (error) => error instanceof ApiError && error.code === "http_400");
});
