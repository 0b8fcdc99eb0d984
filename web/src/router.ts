// Which screen: the address bar decides, and nothing else.

import { signal } from "@preact/signals";
import type { JSX } from "preact";

export type Route =
  { screen: "pages" } | { screen: "page"; id: string } | { screen: "callback" } | { screen: "unknown" };

export const path = signal(location.pathname);

addEventListener("popstate", () => {
  path.value = location.pathname;
});

export function routeOf(pathname: string, callback: string): Route {
  if (pathname === "/") return { screen: "pages" };
  if (pathname === callback) return { screen: "callback" };
  const page = /^\/p\/([0-9a-zA-Z-]{1,64})\/?$/.exec(pathname);
  return page?.[1] ? { screen: "page", id: page[1] } : { screen: "unknown" };
}

export function go(to: string, how: "push" | "replace" = "push"): void {
  if (how === "push") history.pushState(null, "", to);
  else history.replaceState(null, "", to);
  path.value = location.pathname;
  scrollTo(0, 0);
}

/** For links of ours: a plain click stays in the app, any other (new tab, copy …) is the browser's. */
export function follow(event: JSX.TargetedMouseEvent<HTMLAnchorElement>): void {
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(event.currentTarget.pathname);
}
