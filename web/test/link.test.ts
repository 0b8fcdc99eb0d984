// "Saved" must mean saved: what the provider sends and counts around a reconnect.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as Y from "yjs";
import { Link, Socket } from "../src/page/link";

/** The browser's end of a socket, with the server's end in the test's hands. */
class FakeWebSocket extends EventTarget {
  static last: FakeWebSocket;
  readyState = 0;
  /** [type, kind]: the type of each message, and of a sync message its kind. */
  readonly sent: [number, number | undefined][] = [];
  constructor() {
    super();
    FakeWebSocket.last = this;
  }
  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }
  send(frame: Uint8Array) {
    this.sent.push([frame[2] ?? -1, frame[2] === 0 ? frame[3] : undefined]);
  }
  receive(...payload: number[]) {
    const frame = Uint8Array.from([1, "p".charCodeAt(0), ...payload]);
    this.dispatchEvent(new MessageEvent("message", { data: frame.buffer }));
  }
  close() {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.dispatchEvent(new Event("close"));
  }
}

const AUTHENTICATED = [2, 2, 10, ...Buffer.from("read-write")];
const STEP_1 = [0, 0, 1, 0];
const STEP_2 = [0, 1, 2, 0, 0];
const SAVED = [8, 1];
const UPDATE: [number, number] = [0, 2];

function setUp(t: TestContext) {
  globalThis.WebSocket = FakeWebSocket as unknown as typeof WebSocket;
  const document = new Y.Doc();
  let giveToken: (token: string) => void = () => undefined;
  const socket = new Socket("ws://localhost");
  const link = new Link({
    name: "p",
    document,
    websocketProvider: socket,
    token: () =>
      new Promise<string>((resolve) => {
        giveToken = resolve;
      }),
  });
  link.attach();
  const write = () => document.getText("t").insert(0, "x");
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const connect = async () => {
    await turn(); // the provider opens its socket after the turn in which it was asked to
    const server = FakeWebSocket.last;
    server.open();
    await turn();
    return server;
  };
  const authenticate = async (server: FakeWebSocket) => {
    giveToken("token");
    await turn();
    server.receive(...AUTHENTICATED);
    server.receive(...STEP_1);
    server.receive(...STEP_2);
  };
  // Also when the test fails: the provider's timers would keep the process alive.
  t.after(() => {
    link.destroy();
    socket.destroy();
  });
  return { link, socket, write, connect, authenticate };
}

function updatesSentTo(server: FakeWebSocket): number {
  return server.sent.filter(([type, kind]) => type === UPDATE[0] && kind === UPDATE[1]).length;
}

test("what is written before the sync goes with the sync, and counts as unsynced until it is acknowledged", async (t) => {
  const { link, write, connect, authenticate } = setUp(t);
  const server = await connect();
  write(); // the socket is open, the token is still being renewed
  assert.equal(link.hasUnsyncedChanges, true);
  await authenticate(server);
  assert.equal(updatesSentTo(server), 0);
  assert.equal(link.unsyncedChanges, 1);
  server.receive(...SAVED);
  assert.equal(link.hasUnsyncedChanges, false);

  write();
  assert.equal(updatesSentTo(server), 1);
  assert.equal(link.hasUnsyncedChanges, true);
  server.receive(...SAVED);
  assert.equal(link.hasUnsyncedChanges, false);
});

test("after a reconnect one acknowledgement is expected and one thing to acknowledge was sent", async (t) => {
  const { link, socket, write, connect, authenticate } = setUp(t);
  const first = await connect();
  await authenticate(first);
  first.receive(...SAVED);
  first.close();
  write();
  write();
  write();
  assert.equal(link.hasUnsyncedChanges, true);

  void socket.connect();
  const second = await connect();
  assert.notEqual(second, first);
  await authenticate(second);
  assert.equal(updatesSentTo(second), 0);
  assert.equal(second.sent.filter(([type, kind]) => type === 0 && kind === 1).length, 1);
  assert.equal(link.unsyncedChanges, 1);
  second.receive(...SAVED);
  assert.equal(link.hasUnsyncedChanges, false);
});
