// Real clients of both protocols, moved by lines of JSON: one command a line in, one answer a line out.
// All of them share one yjs, and none may meet another by any way but the server.
import { createInterface } from "node:readline";
import WebSocket from "ws";
import * as Y from "yjs";

const clients = new Map();
const sockets = new Map();

class Client {
  denied = [];
  closes = [];
  stateless = [];

  constructor({ kind, token }) {
    this.kind = kind;
    this.token = token;
    this.doc = new Y.Doc();
    this.text = this.doc.getText("text");
  }

  get status() {
    const { awareness } = this.provider;
    return {
      kind: this.kind,
      id: this.doc.clientID,
      text: this.text.toString(),
      words: this.text.toString().split(" ").filter(Boolean).sort(),
      state: Buffer.from(Y.encodeStateVector(this.doc)).toString("hex"),
      synced: this.provider.synced,
      denied: this.denied,
      closes: this.closes,
      stateless: this.stateless,
      names: awareness ? [...awareness.getStates().values()].map((s) => s.name ?? "").sort() : [],
    };
  }
}

// The default back-off of a second and more would make the tests slow, not better.
const PATIENCE = { delay: 50, minDelay: 50, maxDelay: 200 };
// v2 knows no other; Node's own cannot be cut.
globalThis.WebSocket = WebSocket;

class Hocuspocus extends Client {
  refused = 0;
  tokens = 0;

  constructor(library, command) {
    super(command);
    const { url, socket } = command;
    const connection = { url, WebSocketPolyfill: WebSocket, ...PATIENCE };
    if (socket && !sockets.has(socket)) {
      sockets.set(socket, new library.HocuspocusProviderWebsocket(connection));
    }
    this.provider = new library.HocuspocusProvider({
      ...(socket ? { websocketProvider: sockets.get(socket) } : connection),
      name: command.document,
      document: this.doc,
      sessionAwareness: command.sessionAwareness ?? false,
      broadcast: false,
      token: () => this.nextToken(),
      onAuthenticationFailed: ({ reason }) => this.denied.push(reason),
      onClose: ({ event }) => this.closes.push(event.code),
      onStateless: ({ payload }) => this.stateless.push(payload),
    });
    this.provider.on("message", ({ event }) => this.count(new Uint8Array(event.data)));
    // v3 and v4 do this themselves where the socket is their own, v2 always.
    if (socket) this.provider.attach?.();
    Object.assign(this.provider.configuration.websocketProvider.configuration, PATIENCE); // v2 needs it here
  }

  // One of several is used up each time that it is asked for, the last one never.
  nextToken() {
    this.tokens += 1;
    if (!Array.isArray(this.token)) return this.token;
    return this.token.length > 1 ? this.token.shift() : this.token[0];
  }

  // Providers pass over a SyncStatus 0: their change stays unsynced, and nothing tells it from one under way.
  count(frame) {
    const body = frame.subarray(1 + frame[0]);
    if (body.length === 2 && body[0] === 8 && body[1] === 0) this.refused += 1;
  }

  // v2 detaches its document when it is denied, the others keep it and wait for a token.
  tryAgain() {
    return this.provider.sendToken ? this.provider.sendToken() : void this.provider.connect();
  }

  get status() {
    return {
      ...super.status,
      refused: this.refused,
      tokens: this.tokens,
      unsynced: this.provider.unsyncedChanges,
      has_unsynced: this.provider.hasUnsyncedChanges,
      authenticated: this.provider.isAuthenticated,
      scope: this.provider.authorizedScope ?? null,
    };
  }

  get socket() {
    return this.provider.configuration.websocketProvider.webSocket;
  }
}

class YWebsocket extends Client {
  constructor(library, command) {
    super(command);
    this.provider = new library.WebsocketProvider(command.url, command.document, this.doc, {
      params: command.token === null ? {} : { token: command.token },
      WebSocketPolyfill: WebSocket,
      disableBc: true,
      maxBackoffTime: 200,
    });
    this.provider.on("connection-close", (event) => this.closes.push(event?.code ?? null));
  }

  get socket() {
    return this.provider.ws;
  }
}

// y-websocket tells that it was denied to nobody but the console.
const warn = console.warn;
console.warn = (message, ...rest) => {
  const [, url, reason] = /^Permission denied to access (\S+)\.\n(.*)$/s.exec(message) ?? [];
  for (const { provider, denied } of clients.values()) if (url && provider.url === url) denied.push(reason);
  if (!url) warn(message, ...rest);
};

const commands = {
  async open({ kind = "hocuspocus-4", ...command }) {
    const library = await import(kind);
    const Kind = kind.startsWith("hocuspocus") ? Hocuspocus : YWebsocket;
    clients.set(command.client, new Kind(library, { kind, ...command }));
  },
  insert({ client, text, at }) {
    const { text: ytext } = clients.get(client);
    ytext.insert(at ?? ytext.length, text);
  },
  // One update for each character.
  type({ client, text }) {
    const { text: ytext } = clients.get(client);
    for (const character of text) ytext.insert(ytext.length, character);
  },
  remove({ client, at, length }) {
    clients.get(client).text.delete(at, length);
  },
  present({ client, name }) {
    clients.get(client).provider.awareness.setLocalStateField("name", name);
  },
  stateless({ client, payload }) {
    clients.get(client).provider.sendStateless(payload);
  },
  token({ client, token, send = false }) {
    clients.get(client).token = token;
    if (send) return clients.get(client).tryAgain();
  },
  // The network goes: no close frame, no farewell.
  cut({ client }) {
    clients.get(client).socket?.terminate();
  },
  disconnect({ client }) {
    clients.get(client).provider.disconnect();
  },
  connect({ client }) {
    return void clients.get(client).provider.connect();
  },
  destroy({ client }) {
    clients.get(client).provider.destroy();
    clients.delete(client);
  },
  status({ client }) {
    return clients.get(client).status;
  },
  // Until the client's status has all these values.
  async wait({ client, until, seconds }) {
    const end = Date.now() + seconds * 1000;
    for (;;) {
      const { status } = clients.get(client);
      const wrong = Object.keys(until).filter((k) => JSON.stringify(status[k]) !== JSON.stringify(until[k]));
      if (wrong.length === 0) return status;
      if (Date.now() > end) throw new Error(`not within ${seconds} s: ${wrong}; it is ${JSON.stringify(status)}`);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  Promise.resolve()
    .then(() => commands[command.do](command))
    .then(
      (result) => ({ id: command.id, result: result ?? null }),
      (error) => ({ id: command.id, error: error.message }),
    )
    .then((answer) => process.stdout.write(`${JSON.stringify(answer)}\n`));
}
process.exit(0);
