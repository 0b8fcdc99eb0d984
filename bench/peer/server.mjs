// The peer: a Hocuspocus server as its documentation sets one up, with the environment that ours gets.
// Everything that is not named here is its default: it stores a document 2 s after its last change, at least
// every 10 s, and acknowledges an edit before that.
import { Database } from "@hocuspocus/extension-database";
import { Redis } from "@hocuspocus/extension-redis";
import { Server } from "@hocuspocus/server";
import { createLocalJWKSet, jwtVerify } from "jose";
import pg from "pg";

const env = process.env;
const database = JSON.parse(env.DB_CREDENTIALS_JSON);
const pool = new pg.Pool({
  host: database.host,
  port: database.port,
  user: database.username,
  password: database.password,
  database: database.dbname,
});
const keys = createLocalJWKSet(JSON.parse(env.COGNITO_JWKS));

const extensions = [
  new Database({
    async fetch({ documentName }) {
      const { rows } = await pool.query("SELECT data FROM peer_documents WHERE name = $1", [documentName]);
      return rows[0]?.data ?? null;
    },
    async store({ documentName, state }) {
      await pool.query(
        `INSERT INTO peer_documents (name, data) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET data = excluded.data, updated_at = now()`,
        [documentName, state],
      );
    },
  }),
];
if (env.REDIS_URL) {
  const { hostname, port } = new URL(env.REDIS_URL);
  extensions.push(new Redis({ host: hostname, port: Number(port) }));
}

await new Server({
  address: env.BIND_ADDRESS,
  port: Number(env.PORT),
  quiet: true,
  extensions,
  // What ours checks: signature, issuer, expiry, use, client; and that there is such a page.
  async onAuthenticate({ token, documentName }) {
    const { payload } = await jwtVerify(token, keys, {
      issuer: env.COGNITO_ISSUER,
      audience: env.COGNITO_CLIENT_ID,
      algorithms: ["RS256"],
      clockTolerance: 5,
    });
    if (payload.token_use !== "id") throw new Error("not an ID token");
    const { rowCount } = await pool.query("SELECT true FROM pages WHERE id = $1 AND deleted_at IS NULL", [
      documentName,
    ]);
    if (rowCount === 0) throw new Error("no such page");
    return { user: payload.sub };
  },
}).listen();
