// What this device keeps of pages: a copy of each in IndexedDB (page/copy.ts writes them), and which of
// them hold words that no server has confirmed yet.

import { signal } from "@preact/signals";

const PREFIX = "zedi:";
const UNSENT_KEY = "zedi.unsent";
/** Longest wait for databases to go (ms): another tab may hold one open. */
const PATIENCE = 1500;

/** Ids of pages with words that are on this device only. */
export const unsent = signal<ReadonlySet<string>>(readUnsent());

addEventListener("storage", (event) => {
  if (event.key === UNSENT_KEY || event.key === null) unsent.value = readUnsent();
});

export function copyName(person: string, page: string): string {
  return `${PREFIX}${person}:${page}`;
}

export function setUnsent(page: string, isUnsent: boolean): void {
  const pages = readUnsent(); // another tab may have written since
  if (pages.has(page) !== isUnsent) {
    if (isUnsent) pages.add(page);
    else pages.delete(page);
    localStorage.setItem(UNSENT_KEY, JSON.stringify([...pages]));
  }
  if (unsent.peek().has(page) !== isUnsent) unsent.value = pages;
}

/** Removes the copy of one page. */
export async function forgetPage(person: string, page: string): Promise<void> {
  setUnsent(page, false);
  await remove(copyName(person, page));
}

/** Removes every copy: nothing of what somebody wrote stays behind on a shared machine. */
export async function forgetEverything(): Promise<void> {
  localStorage.removeItem(UNSENT_KEY);
  unsent.value = new Set();
  const databases = await indexedDB.databases();
  const names = databases.map((database) => database.name ?? "").filter((name) => name.startsWith(PREFIX));
  await Promise.all(names.map(remove));
}

function remove(name: string): Promise<void> {
  return new Promise((resolve) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = () => resolve();
    request.onerror = () => {
      console.warn(`The copy ${name} could not be removed:`, request.error);
      resolve();
    };
    // When it is blocked, the browser removes it as soon as the last tab lets go.
    setTimeout(resolve, PATIENCE);
  });
}

function readUnsent(): Set<string> {
  try {
    const pages: unknown = JSON.parse(localStorage.getItem(UNSENT_KEY) ?? "[]");
    return new Set(Array.isArray(pages) ? pages.filter((page) => typeof page === "string") : []);
  } catch {
    return new Set(); // somebody edited the storage
  }
}
