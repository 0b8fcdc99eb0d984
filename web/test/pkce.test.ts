import assert from "node:assert/strict";
import { test } from "node:test";
import { challengeOf, randomText } from "../src/pkce";

test("the challenge is the one of RFC 7636, appendix B", async () => {
  assert.equal(
    await challengeOf("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
  );
});

test("verifiers are 43 characters that an address may hold, never the same twice", () => {
  const many = Array.from({ length: 200 }, randomText);
  for (const text of many) assert.match(text, /^[A-Za-z0-9_-]{43}$/);
  assert.equal(new Set(many).size, many.length);
});
