// What can go wrong between us and the servers. Whoever shows one of these picks the words (i18n/).

/** No answer, or one that says "not now": worth trying again. */
export class Unreachable extends Error {}

/** There is no session (any more): only signing in helps. */
export class SignedOut extends Error {}

/** The API refused: `code` as in its answer's error.code, e.g. not_found. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** The hosted login sent us back without a session. */
export class SignInFailed extends Error {
  constructor(
    readonly reason: "refused" | "mismatch" | "expired" | "unreachable",
    detail: string,
  ) {
    super(detail);
  }
}
