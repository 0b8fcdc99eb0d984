import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, parseConfig } from "../src/config";

const good = {
  environment: "local",
  region: "ap-northeast-1",
  api_url: "http://localhost:30000/api",
  websocket_url: "ws://localhost:30000/realtime",
  hosted_ui_url: "http://localhost:30000/login",
  user_pool_id: "ap-northeast-1_1",
  client_id: "c",
  redirect_uri: "http://localhost:30000/callback",
  logout_uri: "http://localhost:30000",
};

test("a whole config.json is taken as it is", () => {
  assert.deepEqual(parseConfig(JSON.stringify(good)), good);
});

test("every key that is missing or cannot be is named, all at once", () => {
  const { client_id: _, ...rest } = good;
  const broken = JSON.stringify({ ...rest, websocket_url: "http://localhost", api_url: "/api" });
  assert.throws(
    () => parseConfig(broken),
    (error) =>
      error instanceof ConfigError &&
      ["client_id: missing", 'websocket_url: "http://localhost"', 'api_url: "/api"'].every((part) =>
        error.message.includes(part),
      ),
  );
});

test("a page of HTML in its place is named as what it is not", () => {
  assert.throws(() => parseConfig("<!doctype html>"), /not JSON/);
  assert.throws(() => parseConfig("null"), /not a JSON object/);
});
