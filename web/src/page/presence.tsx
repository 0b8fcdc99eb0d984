import { words } from "../i18n/language";
import { initialsOf, type Presence } from "./people";

const SHOWN = 5;

export function People({ people, me }: { people: Presence[]; me: string }) {
  const t = words.value;
  const rest = people.slice(SHOWN);
  return (
    <ul class="people" data-testid="presence" aria-label={t.page.people}>
      {people.slice(0, SHOWN).map((person) => (
        <li key={person.id}>
          <span
            class="avatar"
            role="img"
            data-testid="person"
            aria-label={person.name}
            title={person.id === me ? t.page.you(person.name) : person.name}
            style={{ "--person": person.color }}
          >
            {initialsOf(person.name)}
          </span>
        </li>
      ))}
      {rest.length > 0 && (
        <li>
          <span
            class="avatar rest"
            role="img"
            aria-label={`${t.page.more(rest.length)}: ${rest.map((person) => person.name).join(", ")}`}
            title={rest.map((person) => person.name).join("\n")}
          >
            +{rest.length}
          </span>
        </li>
      )}
    </ul>
  );
}
