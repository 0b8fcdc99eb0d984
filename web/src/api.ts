// The HTTP API: pages exist, have titles, are deleted. What they say travels elsewhere (page/connection.ts).

import { ApiError, SignedOut, Unreachable } from "./errors";

export interface Page {
  id: string;
  title: string;
  /** `sub` of who made it. */
  owner: string;
  /** ISO 8601, as the next one. */
  created_at: string;
  updated_at: string;
}

export interface PageList {
  pages: Page[];
  /** Give it to `pages` to get the ones after these; null when these were the last. */
  next: string | null;
}

/** Characters of a title. */
export const MAX_TITLE = 200;
/** Longest wait for an answer (ms). */
const PATIENCE = 15_000;

/** Every call throws ApiError (refused), Unreachable (try again) or SignedOut. */
export class Api {
  constructor(
    private readonly url: string,
    private readonly accessToken: (refused?: string) => Promise<string>,
    private readonly send: typeof fetch = (...request) => fetch(...request),
  ) {}

  pages(after?: string): Promise<PageList> {
    return this.#json("GET", after ? `/pages?after=${encodeURIComponent(after)}` : "/pages");
  }

  create(): Promise<Page> {
    return this.#json("POST", "/pages", {});
  }

  page(id: string): Promise<Page> {
    return this.#json("GET", `/pages/${encodeURIComponent(id)}`);
  }

  rename(id: string, title: string): Promise<Page> {
    return this.#json("PATCH", `/pages/${encodeURIComponent(id)}`, { title });
  }

  async remove(id: string): Promise<void> {
    await this.#call("DELETE", `/pages/${encodeURIComponent(id)}`);
  }

  async #json<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await this.#call(method, path, body);
    return (await response.json()) as T;
  }

  async #call(method: string, path: string, body?: object): Promise<Response> {
    const token = await this.accessToken();
    let response = await this.#once(method, path, body, token);
    // The token may have been revoked, or our clock may be wrong: one new token, one more try.
    if (response.status === 401) {
      response = await this.#once(method, path, body, await this.accessToken(token));
    }
    if (response.ok) return response;
    if (response.status === 429 || response.status >= 502) throw new Unreachable(`HTTP ${response.status}`);
    throw await errorIn(response);
  }

  async #once(method: string, path: string, body: object | undefined, token: string): Promise<Response> {
    const headers: Record<string, string> = { Authorization: `Bearer ${token}` };
    if (body) headers["Content-Type"] = "application/json";
    try {
      return await this.send(this.url + path, {
        method,
        headers,
        body: body ? JSON.stringify(body) : null,
        signal: AbortSignal.timeout(PATIENCE),
      });
    } catch (error) {
      if (error instanceof SignedOut) throw error;
      throw new Unreachable(error instanceof Error ? error.message : String(error));
    }
  }
}

async function errorIn(response: Response): Promise<ApiError> {
  let error: { code?: unknown; message?: unknown } | undefined;
  try {
    error = ((await response.json()) as { error?: typeof error }).error;
  } catch {
    // Something between us and the API answered, in words of its own: the status must do.
  }
  return new ApiError(
    response.status,
    typeof error?.code === "string" ? error.code : `http_${response.status}`,
    typeof error?.message === "string" ? error.message : `HTTP ${response.status}`,
  );
}
