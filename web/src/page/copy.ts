// The copy of a page on this device: what was written offline survives a closed tab.

import { IndexeddbPersistence } from "y-indexeddb";
import type { Doc } from "yjs";
import { copyName } from "../kept";

const TITLE = "title";
/** Longest wait for the copy (ms), after which the page opens without waiting for it any longer. */
const PATIENCE = 3000;

/** A page's copy, or null where the browser keeps nothing (some private windows). */
export class Copy {
  private constructor(private readonly store: IndexeddbPersistence) {}

  /** Fills `doc` from the copy and keeps the two the same from then on. */
  static async open(person: string, page: string, doc: Doc): Promise<Copy | null> {
    if (!(await browserKeeps())) return null;
    const store = new IndexeddbPersistence(copyName(person, page), doc);
    await Promise.race([store.whenSynced, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
    return new Copy(store);
  }

  async title(): Promise<string | null> {
    const title: unknown = await this.store.get(TITLE);
    return typeof title === "string" ? title : null;
  }

  async setTitle(title: string): Promise<void> {
    await this.store.set(TITLE, title);
  }

  async close(): Promise<void> {
    await this.store.destroy();
  }
}

// The store would fail without a word where databases are refused, so one is opened to find out.
function browserKeeps(): Promise<boolean> {
  return new Promise((resolve) => {
    try {
      const request = indexedDB.open("zedi:probe");
      request.onsuccess = () => {
        request.result.close();
        resolve(true);
      };
      request.onerror = () => resolve(false);
      setTimeout(() => resolve(false), PATIENCE);
    } catch {
      resolve(false); // refused outright
    }
  });
}
