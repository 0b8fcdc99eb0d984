// Which language: what was chosen here before, else the first of the browser's that we have, else English.

import { computed, effect, signal } from "@preact/signals";
import { type Dictionary, en } from "./en";
import { ja } from "./ja";

export const dictionaries = { en, ja } satisfies Record<string, Dictionary>;
export type Language = keyof typeof dictionaries;
/** As each calls itself. */
export const languageNames: Record<Language, string> = { en: "English", ja: "日本語" };

const KEY = "zedi.language";

export function preferredLanguage(chosen: string | null, browser: readonly string[]): Language {
  for (const tag of [chosen ?? "", ...browser]) {
    const language = tag.toLowerCase().split("-")[0] ?? "";
    if (Object.hasOwn(dictionaries, language)) return language as Language;
  }
  return "en";
}

export const language = signal<Language>("en");
export const words = computed<Dictionary>(() => dictionaries[language.value]);

export function chooseLanguage(chosen: Language): void {
  localStorage.setItem(KEY, chosen);
  language.value = chosen;
}

/** Reads the choice and keeps <html lang> right, which also picks the glyphs of shared characters. */
export function startLanguage(): void {
  language.value = preferredLanguage(localStorage.getItem(KEY), navigator.languages);
  effect(() => {
    document.documentElement.lang = language.value;
  });
}
