// Who is on a page: read off the awareness states, one entry a person however many tabs they have open.

import type { Person } from "../session";

/** What everybody on a page is told about a person; the key `user` of an awareness state. */
export interface Presence {
  id: string;
  name: string;
  /** #rrggbb */
  color: string;
}

// Each stands at 4.5:1 or better against the white of a name on it, and at 3:1 or better as a caret on both
// the light and the dark ground (test/people.test.ts).
export const COLORS = [
  "#c2413b",
  "#b85a0e",
  "#8f6c00",
  "#5e7a12",
  "#1f8250",
  "#0d8078",
  "#1a7aa8",
  "#4a6fd0",
  "#7d5fd3",
  "#a94fc0",
  "#c23f86",
  "#7b6f66",
] as const;

/** Always the same for the same person (FNV-1a over the id). */
export function colorOf(id: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193);
  return COLORS[(hash >>> 0) % COLORS.length] ?? COLORS[0];
}

export function presenceOf(person: Person): Presence {
  return { id: person.id, name: person.name, color: colorOf(person.id) };
}

/**
 * The colour that `me` should change to, or null: theirs is fine. Of two people with one colour the one with
 * the greater id gives way, so that both sides agree without asking.
 */
export function otherColor(me: Presence, people: Presence[]): string | null {
  const others = people.filter((person) => person.id !== me.id);
  if (!others.some((person) => person.color === me.color && person.id < me.id)) return null;
  const taken = new Set(others.map((person) => person.color));
  const start = COLORS.indexOf(me.color as (typeof COLORS)[number]) + 1;
  const turned = [...COLORS.slice(start), ...COLORS.slice(0, start)];
  return turned.find((color) => !taken.has(color)) ?? null;
}

/** The presence in one awareness state, which anybody may have written: null when there is none. */
export function presenceIn(state: unknown): Presence | null {
  const user = (state as { user?: Record<string, unknown> } | null | undefined)?.user;
  if (typeof user !== "object" || user === null || typeof user.name !== "string") return null;
  const name = user.name.trim().slice(0, 60);
  if (!name) return null;
  const id = typeof user.id === "string" && user.id ? user.id : name;
  const color =
    typeof user.color === "string" && /^#[0-9a-f]{6}$/i.test(user.color) ? user.color : colorOf(id);
  return { id, name, color };
}

/** Everybody in `states`, `me` first, the others by name. */
export function peopleIn(states: Iterable<unknown>, me: string, language: string): Presence[] {
  const people = new Map<string, Presence>();
  for (const state of states) {
    const presence = presenceIn(state);
    if (presence) people.set(presence.id, presence);
  }
  const order = new Intl.Collator(language);
  return [...people.values()].sort(
    (a, b) => Number(b.id === me) - Number(a.id === me) || order.compare(a.name, b.name),
  );
}

/** One or two letters for a small round picture: "Taro Yamada" is TY, 花子 is 花. */
export function initialsOf(name: string): string {
  const letters = new Intl.Segmenter(undefined, { granularity: "grapheme" });
  const first = (word: string) => [...letters.segment(word)][0]?.segment.toLocaleUpperCase() ?? "";
  const words = name.split(/[\s._-]+/u).filter(Boolean);
  // Two letters of a script without capitals would be half a name, not initials.
  if (words.length < 2 || !/^\p{Lu}/u.test(first(words[0] ?? ""))) return first(words[0] ?? name);
  return first(words[0] ?? "") + first(words[words.length - 1] ?? "");
}
