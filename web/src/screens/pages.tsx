// The list of pages.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Api, Page, PageList } from "../api";
import { SignedOut } from "../errors";
import { fullTime, relativeTime } from "../i18n/dates";
import { language, words } from "../i18n/language";
import { forgetPage, unsent } from "../kept";
import { loadPageScreen } from "../page/load";
import { Dialog } from "../parts/dialog";
import { Menu } from "../parts/menu";
import { follow, go } from "../router";
import type { Person } from "../session";
import { Failure } from "./problem";

export function PagesScreen({ api, person }: { api: Api; person: Person }) {
  const list = useSignal<PageList | null>(null);
  const failure = useSignal<unknown>(null);
  const busy = useSignal(false);
  const doomed = useSignal<Page | null>(null);
  const now = useSignal(Date.now());

  async function attempt(work: () => Promise<void>) {
    try {
      failure.value = null;
      await work();
    } catch (error) {
      // The session has already said so, and the sign-in screen is on its way.
      if (!(error instanceof SignedOut)) failure.value = error;
    }
  }

  const load = () =>
    attempt(async () => {
      list.value = await api.pages();
      now.value = Date.now();
    });

  const loadMore = (after: string) =>
    attempt(async () => {
      const more = await api.pages(after);
      // A page that changed meanwhile has moved up: it is shown already.
      const known = new Set(list.value?.pages.map((page) => page.id));
      list.value = {
        pages: [...(list.value?.pages ?? []), ...more.pages.filter((page) => !known.has(page.id))],
        next: more.next,
      };
    });

  const create = async () => {
    busy.value = true;
    await attempt(async () => go(`/p/${(await api.create()).id}`));
    busy.value = false;
  };

  const remove = (page: Page) =>
    attempt(async () => {
      doomed.value = null;
      await api.remove(page.id);
      await forgetPage(person.id, page.id);
      await load();
    });

  useEffect(() => {
    document.title = `${words.peek().pages.heading} · Zedi`;
    void load();
    const seen = () => {
      if (document.visibilityState === "visible") void load();
    };
    document.addEventListener("visibilitychange", seen);
    const minute = setInterval(() => {
      now.value = Date.now();
    }, 60_000);
    // Fetched while the person is still reading the list. A failure shows when a page is opened.
    loadPageScreen().catch(() => undefined);
    return () => {
      document.removeEventListener("visibilitychange", seen);
      clearInterval(minute);
    };
  }, [api]);

  const t = words.value;
  const pages = list.value?.pages;
  const next = list.value?.next;
  return (
    <main class="column">
      <div class="list-head">
        <h1>{t.pages.heading}</h1>
        <button
          type="button"
          class="button primary"
          data-testid="new-page"
          disabled={busy.value}
          onClick={() => void create()}
        >
          {t.pages.create}
        </button>
      </div>
      {failure.value !== null && <Failure error={failure.value} onRetry={() => void load()} />}
      {!pages && failure.value === null && <p class="loading">{t.loading}</p>}
      {pages?.length === 0 && (
        <div class="empty" data-testid="pages">
          <p>{t.pages.empty}</p>
          <p>{t.pages.emptyHint}</p>
        </div>
      )}
      {pages && pages.length > 0 && (
        <ul class="list" data-testid="pages">
          {pages.map((page) => (
            <Item
              key={page.id}
              page={page}
              now={now.value}
              onDelete={() => {
                doomed.value = page;
              }}
            />
          ))}
        </ul>
      )}
      {next && (
        <button type="button" class="button" onClick={() => void loadMore(next)}>
          {t.pages.more}
        </button>
      )}
      {doomed.value && (
        <Dialog
          title={t.pages.deleteTitle(doomed.value.title || t.untitled)}
          text={t.pages.deleteText}
          confirm={t.pages.deleteConfirm}
          onConfirm={() => {
            if (doomed.value) void remove(doomed.value);
          }}
          onClose={() => {
            doomed.value = null;
          }}
        />
      )}
    </main>
  );
}

function Item({ page, now, onDelete }: { page: Page; now: number; onDelete: () => void }) {
  const t = words.value;
  const title = page.title || t.untitled;
  const changed = Date.parse(page.updated_at);
  const ago = relativeTime(changed, now, language.value);
  return (
    <li class="item" data-testid="page-item">
      <a class="item-link" href={`/p/${page.id}`} onClick={follow}>
        <span class={page.title ? "item-title" : "item-title unnamed"}>{title}</span>
        <span class="item-facts">
          <time dateTime={page.updated_at} title={fullTime(changed, language.value)}>
            {ago === null ? t.pages.changedNow : t.pages.changed(ago)}
          </time>
          {unsent.value.has(page.id) && <span class="badge">{t.pages.unsent}</span>}
        </span>
      </a>
      <Menu label={t.pages.menu(title)}>
        <button type="button" role="menuitem" data-testid="delete-page" onClick={onDelete}>
          {t.pages.delete}
        </button>
      </Menu>
    </li>
  );
}
