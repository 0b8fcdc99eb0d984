// Real Hocuspocus clients, moved by lines of JSON: one command a line in, one answer a line out.
import { HocuspocusProvider } from "@hocuspocus/provider";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import * as Y from "yjs";

const clients = new Map();

class Client {
  constructor({ url, document, token, sessionAwareness = false }) {
    this.token = token;
    this.denied = [];
    this.closes = [];
    this.stateless = [];
    this.doc = new Y.Doc();
    this.text = this.doc.getText("text");
    this.provider = new HocuspocusProvider({
      url,
      name: document,
      document: this.doc,
      sessionAwareness,
      token: () => this.token,
      WebSocketPolyfill: WebSocket,
      // The default back-off of a second and more would make the tests slow, not better.
      delay: 50,
      minDelay: 50,
      maxDelay: 200,
      onAuthenticationFailed: ({ reason }) => this.denied.push(reason),
      onClose: ({ event }) => this.closes.push(event.code),
      onStateless: ({ payload }) => this.stateless.push(payload),
    });
  }

  get status() {
    const { provider } = this;
    const awareness = provider.awareness;
    return {
      id: this.doc.clientID,
      text: this.text.toString(),
      words: this.text.toString().split(" ").filter(Boolean).sort(),
      synced: provider.synced,
      unsynced: provider.unsyncedChanges,
      has_unsynced: provider.hasUnsyncedChanges,
      authenticated: provider.isAuthenticated,
      scope: provider.authorizedScope ?? null,
      denied: this.denied,
      closes: this.closes,
      stateless: this.stateless,
      names: awareness ? [...awareness.getStates().values()].map((s) => s.name ?? "").sort() : [],
    };
  }
}

const commands = {
  open(command) {
    clients.set(command.client, new Client(command));
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
    clients.get(client).provider.setAwarenessField("name", name);
  },
  stateless({ client, payload }) {
    clients.get(client).provider.sendStateless(payload);
  },
  token({ client, token, send = false }) {
    clients.get(client).token = token;
    if (send) return clients.get(client).provider.sendToken();
  },
  // The network goes: no close frame, no farewell.
  cut({ client }) {
    clients.get(client).provider.configuration.websocketProvider.webSocket?.terminate();
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
