import assert from "node:assert/strict";
import { test } from "node:test";
import { COLORS, colorOf, initialsOf, otherColor, peopleIn, presenceIn } from "../src/page/people";

function luminance(color: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(color.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [light = 0, dark = 0] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
}

test("every person's colour carries white letters, and shows as a caret on both grounds", () => {
  for (const color of COLORS) {
    assert.ok(contrast(color, "#ffffff") >= 4.5, `${color} under white: ${contrast(color, "#ffffff")}`);
    for (const ground of ["#fbfaf7", "#17181a"]) {
      assert.ok(contrast(color, ground) >= 3, `${color} on ${ground}: ${contrast(color, ground)}`);
    }
  }
});

test("a person keeps their colour, and a crowd uses all of them", () => {
  assert.equal(colorOf("someone"), colorOf("someone"));
  const used = new Set(Array.from({ length: 500 }, (_, i) => colorOf(`person ${i}`)));
  assert.equal(used.size, COLORS.length);
});

test("of two people with one colour exactly one changes, to a colour that nobody has", () => {
  const person = (id: string, color: string) => ({ id, name: id, color });
  const [first, second, third] = COLORS;
  const people = [person("a", first), person("b", first), person("c", second)];
  assert.equal(otherColor(person("a", first), people), null);
  assert.equal(otherColor(person("b", first), people), third);
  assert.equal(otherColor(person("c", second), people), null);
  const crowd = COLORS.map((color, i) => person(`p${i}`, color));
  assert.equal(otherColor(person("z", first), [...crowd, person("z", first)]), null);
});

test("a person with two tabs is one person, oneself comes first, the rest by name", () => {
  const user = (id: string, name: string) => ({ user: { id, name, color: "#123456" } });
  const states = [user("3", "Taro"), user("2", "Aiko"), user("1", "Me"), user("3", "Taro"), {}, null];
  assert.deepEqual(
    peopleIn(states, "1", "en").map((person) => person.name),
    ["Me", "Aiko", "Taro"],
  );
});

test("a presence that somebody made up is cut to size or left out", () => {
  assert.equal(presenceIn({ user: { name: 7 } }), null);
  assert.equal(presenceIn({ user: { name: "  " } }), null);
  assert.equal(presenceIn({ user: { id: "1", name: "x".repeat(1000) } })?.name.length, 60);
  const styled = presenceIn({ user: { id: "1", name: "x", color: "red;background:url(//evil)" } });
  assert.equal(styled?.color, colorOf("1"));
});

test("initials are two of a Latin name and one of any other", () => {
  assert.equal(initialsOf("Taro Yamada"), "TY");
  assert.equal(initialsOf("hanako"), "H");
  assert.equal(initialsOf("山田 花子"), "山");
  assert.equal(initialsOf("👩‍💻 Ada"), "👩‍💻");
});
