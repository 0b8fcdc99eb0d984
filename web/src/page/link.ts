// Hocuspocus's provider, with its count of unsynced changes made exact.
//
// The provider queues what is written while its socket is down and sends it besides the sync that follows a
// reconnect, which holds all of it already. The server acknowledges both, the provider expects one, so
// "saved" would show while words are still on their way. Here no update is sent outside a sync: what was
// written before it is in the state that the sync exchanges.

import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";

/** Longest silence of a fresh socket (ms). The provider itself would wait for ever. */
const FIRST_ANSWER = 30_000;

export class Socket extends HocuspocusProviderWebsocket {
  constructor(url: string) {
    // Whoever is writing should not wait the provider's 30 s after a deploy that took one.
    super({ url, maxDelay: 8000 });
    let watch: ReturnType<typeof setTimeout> | undefined;
    this.on("open", () => {
      watch = setTimeout(() => this.webSocket?.close(), FIRST_ANSWER);
    });
    for (const event of ["message", "close", "destroy"]) this.on(event, () => clearTimeout(watch));
  }

  /** Drops the connection; the provider makes a new one after a second, with everything sent anew. */
  renew(): void {
    this.webSocket?.close();
  }
}

export class Link extends HocuspocusProvider {
  /** Between the first message of a sync and the end of its socket. */
  #syncing = false;

  override async onOpen(event: Event): Promise<void> {
    this.#syncing = false;
    await super.onOpen(event);
  }

  override startSync(): void {
    this.#syncing = true;
    super.startSync();
  }

  override onClose(): void {
    this.#syncing = false;
    super.onClose();
  }

  override documentUpdateHandler(update: Uint8Array, origin: unknown): void {
    if (this.#syncing || origin === this) super.documentUpdateHandler(update, origin);
    else this.incrementUnsyncedChanges();
  }
}
