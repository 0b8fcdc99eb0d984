import { chooseLanguage, type Language, language, languageNames, words } from "../i18n/language";
import { follow } from "../router";
import type { Person } from "../session";

export function Header({ person, onSignOut }: { person: Person | null; onSignOut: () => void }) {
  const t = words.value;
  return (
    <header class="header">
      <a class="brand" href="/" onClick={follow} aria-label={person ? `Zedi: ${t.toPages}` : "Zedi"}>
        <img src="/favicon.svg" alt="" width="24" height="24" />
        <span>Zedi</span>
      </a>
      <div class="header-end">
        {person && <span class="header-name">{person.name}</span>}
        <select
          class="quiet"
          data-testid="language"
          aria-label={t.language}
          value={language.value}
          onChange={(event) => chooseLanguage(event.currentTarget.value as Language)}
        >
          {Object.entries(languageNames).map(([code, name]) => (
            <option key={code} value={code} lang={code}>
              {name}
            </option>
          ))}
        </select>
        {person && (
          <button type="button" class="quiet" data-testid="sign-out" onClick={onSignOut}>
            {t.signOut.button}
          </button>
        )}
      </div>
    </header>
  );
}
