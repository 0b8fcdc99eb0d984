// The settings that every deploy writes beside the front end: one build serves every environment.

export interface Config {
  environment: string;
  region: string;
  /** e.g. http://localhost:30000/api */
  api_url: string;
  /** e.g. ws://localhost:30000/realtime */
  websocket_url: string;
  /** Base of /oauth2/authorize, /oauth2/token, /logout. */
  hosted_ui_url: string;
  user_pool_id: string;
  client_id: string;
  /** The callback, e.g. http://localhost:30000/callback */
  redirect_uri: string;
  logout_uri: string;
}

const SCHEMES: Record<keyof Config, readonly string[] | null> = {
  environment: null,
  region: null,
  api_url: ["http:", "https:"],
  websocket_url: ["ws:", "wss:"],
  hosted_ui_url: ["http:", "https:"],
  user_pool_id: null,
  client_id: null,
  redirect_uri: ["http:", "https:"],
  logout_uri: ["http:", "https:"],
};

/** `/config.json` cannot be used; the message says why, for whoever runs the place. */
export class ConfigError extends Error {}

export async function loadConfig(): Promise<Config> {
  let response: Response;
  try {
    response = await fetch("/config.json", { cache: "no-store" });
  } catch (error) {
    throw new ConfigError(`/config.json: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!response.ok) throw new ConfigError(`/config.json: HTTP ${response.status}`);
  return parseConfig(await response.text());
}

/** Throws ConfigError with one line for each key that is missing or cannot be. */
export function parseConfig(text: string): Config {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    throw new ConfigError("/config.json: not JSON");
  }
  if (typeof data !== "object" || data === null) throw new ConfigError("/config.json: not a JSON object");
  const config = { ...data } as Record<string, unknown>;
  const problems: string[] = [];
  for (const [key, schemes] of Object.entries(SCHEMES)) {
    const value = config[key];
    if (typeof value !== "string" || value === "") problems.push(`${key}: missing`);
    else if (schemes && !schemes.includes(schemeOf(value))) {
      problems.push(`${key}: "${value}" is no ${schemes.join(" or ")} address`);
    }
  }
  if (problems.length > 0) throw new ConfigError(["/config.json:", ...problems].join("\n"));
  return config as unknown as Config;
}

function schemeOf(address: string): string {
  try {
    return new URL(address).protocol;
  } catch {
    return "";
  }
}
