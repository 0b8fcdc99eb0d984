// One open page: its document, the copy on this device, the connection to everybody else.

import { type Signal, computed, signal } from "@preact/signals";
import * as Y from "yjs";
import { SignedOut, Unreachable } from "../errors";
import { setUnsent } from "../kept";
import type { Person, Session } from "../session";
import { Copy } from "./copy";
import { Link, Socket } from "./link";
import { type Presence, otherColor, peopleIn, presenceIn, presenceOf } from "./people";

/** The field of the document that holds the text. */
export const FIELD = "default";

export type Status = "connecting" | "saving" | "saved" | "offline" | "denied" | "signed-out";

interface TitleMessage {
  type: "title";
  title: string;
}

export class Connection {
  readonly document = new Y.Doc();
  readonly status: Signal<Status>;
  readonly people = signal<Presence[]>([]);
  readonly readOnly = signal(false);
  /** True once there is something to show: what the server has, or what this device kept. */
  readonly ready = signal(false);
  /** Whether this device keeps what is written while offline. */
  readonly keeps = signal(true);
  readonly copy: Promise<Copy | null>;
  link: Link | null = null;

  readonly #phase = signal<"connecting" | "online" | "offline" | "denied" | "signed-out">("connecting");
  readonly #unsynced = signal(true);
  readonly #closed = new AbortController();
  #socket: Socket | null = null;
  #token = "";
  /** The token that the service did not take, until it has taken another. */
  #refused: string | undefined;
  #tokenFailure: unknown = null;

  constructor(
    private readonly page: string,
    private readonly person: Person,
    private readonly session: Session,
    websocketUrl: string,
    private readonly onTitle: (title: string) => void,
  ) {
    this.status = computed<Status>(() => {
      if (this.#phase.value !== "online") return this.#phase.value;
      return this.#unsynced.value ? "saving" : "saved";
    });
    this.copy = Copy.open(person.id, page, this.document);
    void this.#start(websocketUrl);
  }

  /** Tells everybody else on the page what it is called now. */
  announceTitle(title: string): void {
    const message: TitleMessage = { type: "title", title };
    this.link?.sendStateless(JSON.stringify(message));
  }

  /** Tries again what was denied. */
  retry(): void {
    this.#phase.value = "connecting";
    this.#refused = undefined;
    void this.#socket?.connect();
  }

  close(): void {
    this.#closed.abort();
    this.link?.destroy();
    this.#socket?.destroy();
    this.document.destroy();
    void this.copy.then((copy) => copy?.close());
  }

  async #start(websocketUrl: string): Promise<void> {
    // The copy comes first: what it holds is then part of the first sync, not a change to be sent after it.
    const copy = await this.copy;
    if (this.#closed.signal.aborted) return;
    this.keeps.value = copy !== null;
    if (!this.#isEmpty()) this.ready.value = true;

    const socket = new Socket(websocketUrl);
    const link = new Link({
      name: this.page,
      document: this.document,
      websocketProvider: socket,
      token: () => this.#freshToken(),
    });
    this.#socket = socket;
    this.link = link;

    link.on("synced", () => this.#synced());
    link.on("unsyncedChanges", () => this.#count());
    link.on("disconnect", () => this.#disconnected());
    link.on("authenticated", ({ scope }: { scope: string }) => {
      this.readOnly.value = scope === "readonly";
      this.#refused = undefined;
    });
    link.on("authenticationFailed", () => this.#authenticationFailed());
    link.on("stateless", ({ payload }: { payload: string }) => this.#received(payload));
    link.awareness?.on("change", () => this.#meet());
    link.setAwarenessField("user", presenceOf(this.person));
    // Words that are not the server's yet are marked as such even when this tab is closed in the next moment.
    this.document.on("update", (_update: Uint8Array, origin: unknown) => {
      if (origin !== link) setUnsent(this.page, true);
    });

    const { signal } = this.#closed;
    addEventListener("online", () => this.#backOnline(), { signal });
    addEventListener("offline", () => this.#count(), { signal });
    // The browser took the page out of its drawer: the provider had said goodbye for us.
    addEventListener(
      "pageshow",
      (event) => {
        if (!event.persisted) return;
        link.awareness?.setLocalState({ user: presenceOf(this.person) });
        socket.renew();
      },
      { signal },
    );
    addEventListener(
      "beforeunload",
      (event) => {
        if (!this.keeps.peek() && this.#unsynced.peek() && this.ready.peek()) event.preventDefault();
      },
      { signal },
    );
    link.attach();
  }

  async #freshToken(): Promise<string> {
    this.#tokenFailure = null;
    try {
      this.#token = await this.session.accessToken(this.#refused);
      return this.#token;
    } catch (error) {
      this.#tokenFailure = error; // the provider says only that something failed
      throw error;
    }
  }

  #synced(): void {
    if (this.#phase.value === "denied" || this.#phase.value === "signed-out") return;
    this.ready.value = true;
    this.#phase.value = "online";
    this.#count();
  }

  #count(): void {
    const link = this.link;
    if (!link) return;
    this.#unsynced.value = link.hasUnsyncedChanges;
    if (this.#phase.value === "online" && link.isSynced && !link.hasUnsyncedChanges) {
      setUnsent(this.page, false);
    }
    // A dead network shows in the socket only after half a minute; the browser knows at once. (It may be
    // wrong where the server is on this machine: then changes are confirmed, and this does not matter.)
    if (!navigator.onLine && link.hasUnsyncedChanges && this.#phase.value === "online") {
      this.#phase.value = "offline";
    } else if (this.#phase.value === "offline" && link.isSynced && !link.hasUnsyncedChanges) {
      this.#phase.value = "online";
      setUnsent(this.page, false);
    }
  }

  #disconnected(): void {
    if (this.#phase.value === "denied" || this.#phase.value === "signed-out") return;
    this.#phase.value = "offline";
    this.ready.value = true;
  }

  #backOnline(): void {
    // What the socket looks like after a network has gone and come back is anybody's guess: take a new one.
    if (this.#phase.value === "denied" || this.#phase.value === "signed-out") return;
    if (this.#phase.value === "online" && !this.#unsynced.value) return;
    this.#socket?.renew();
    void this.#socket?.connect();
  }

  #authenticationFailed(): void {
    if (this.#tokenFailure instanceof SignedOut) this.#stop("signed-out");
    else if (this.#tokenFailure instanceof Unreachable) this.#socket?.renew();
    else if (this.#refused === undefined) {
      // The token may have been revoked, or our clock may be wrong: once more with a new one.
      this.#refused = this.#token;
      this.#socket?.renew();
    } else this.#stop("denied");
  }

  #stop(phase: "denied" | "signed-out"): void {
    this.#phase.value = phase;
    this.#socket?.disconnect();
  }

  #received(payload: string): void {
    let message: Partial<TitleMessage> | null;
    try {
      message = JSON.parse(payload) as Partial<TitleMessage> | null;
    } catch {
      return; // from a newer version or somebody else's client: none of our business
    }
    if (message?.type === "title" && typeof message.title === "string") this.onTitle(message.title);
  }

  #meet(): void {
    const states = this.link?.awareness?.getStates().values() ?? [];
    const people = peopleIn(states, this.person.id, document.documentElement.lang);
    const same = (a: Presence[], b: Presence[]) => JSON.stringify(a) === JSON.stringify(b);
    // Carets move all the time, and with them this is called: people come and go rarely.
    if (same(people, this.people.peek())) return;
    this.people.value = people;
    const me = presenceIn(this.link?.awareness?.getLocalState());
    const color = me && otherColor(me, people);
    if (me && color) this.link?.setAwarenessField("user", { ...me, color });
  }

  #isEmpty(): boolean {
    return this.document.getXmlFragment(FIELD).length === 0;
  }
}
