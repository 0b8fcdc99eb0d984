// Points in time, as people say them.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * "3 minutes ago" within a week, then a date; null within a minute, for which a sentence has its own words.
 * `then` and `now` are milliseconds since 1970.
 */
export function relativeTime(then: number, now: number, language: string): string | null {
  const age = Math.max(0, now - then); // a clock that is a little wrong does not see the future
  const words = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  if (age < MINUTE) return null;
  if (age < HOUR) return words.format(-Math.floor(age / MINUTE), "minute");
  if (age < DAY) return words.format(-Math.floor(age / HOUR), "hour");
  if (age < 7 * DAY) return words.format(-Math.floor(age / DAY), "day");
  const sameYear = new Date(then).getFullYear() === new Date(now).getFullYear();
  return new Intl.DateTimeFormat(language, {
    month: "long",
    day: "numeric",
    ...(sameYear ? {} : { year: "numeric" }),
  }).format(then);
}

/** Date and time in full, for the tooltip. */
export function fullTime(then: number, language: string): string {
  return new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "short" }).format(then);
}
