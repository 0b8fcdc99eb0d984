import assert from "node:assert/strict";
import { test } from "node:test";
import { relativeTime } from "../src/i18n/dates";
import { dictionaries, preferredLanguage } from "../src/i18n/language";

type Words = { [key: string]: string | Words | ((...words: never[]) => string) };

function leaves(words: Words, path = ""): [string, unknown][] {
  return Object.entries(words).flatMap(([key, value]) =>
    typeof value === "object" ? leaves(value, `${path}${key}.`) : [[path + key, value] as [string, unknown]],
  );
}

test("every language has every key, and no empty words", () => {
  const keys = leaves(dictionaries.en).map(([key]) => key);
  for (const dictionary of Object.values(dictionaries)) {
    const found = leaves(dictionary);
    assert.deepEqual(
      found.map(([key]) => key),
      keys,
    );
    for (const [key, value] of found) assert.notEqual(value, "", key);
  }
});

test("what is said in Japanese is Japanese", () => {
  for (const [key, value] of leaves(dictionaries.ja)) {
    const said = typeof value === "function" ? (value as (word: string) => string)("1") : String(value);
    assert.match(said, /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]/u, key);
  }
});

test("the language is the one chosen, else the browser's first that we have, else English", () => {
  assert.equal(preferredLanguage(null, ["fr-FR", "ja-JP", "en"]), "ja");
  assert.equal(preferredLanguage("en", ["ja"]), "en");
  assert.equal(preferredLanguage("xx", ["de"]), "en");
  assert.equal(preferredLanguage("constructor", []), "en");
});

test("a time is told in the largest unit that fits, and as a date after a week", () => {
  const now = new Date(2026, 10, 23, 12).getTime();
  const ago = (seconds: number, language = "en") => relativeTime(now - seconds * 1000, now, language);
  assert.equal(ago(59), null);
  assert.equal(ago(-30), null);
  assert.equal(ago(60), "1 minute ago");
  assert.equal(ago(3599), "59 minutes ago");
  assert.equal(ago(2 * 3600), "2 hours ago");
  assert.equal(ago(86400), "yesterday");
  assert.equal(ago(6 * 86400), "6 days ago");
  assert.equal(ago(20 * 86400), "November 3");
  assert.equal(ago(400 * 86400), "October 19, 2025");
  assert.equal(ago(3 * 3600, "ja"), "3 時間前");
  assert.equal(ago(20 * 86400, "ja"), "11月3日");
});
