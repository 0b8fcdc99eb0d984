// Drawn on a 20 × 20 grid with the colour of the text around them.

import type { ComponentChildren } from "preact";

function Icon({ children }: { children: ComponentChildren }) {
  return (
    <svg
      class="icon"
      viewBox="0 0 20 20"
      width="20"
      height="20"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

function Letter({ children, class: name }: { children: string; class?: string }) {
  return (
    <span class={`letter ${name ?? ""}`} aria-hidden="true">
      {children}
    </span>
  );
}

export const MoreIcon = () => (
  <Icon>
    <path d="M4.5 10h.01M10 10h.01M15.5 10h.01" stroke-width="2.6" />
  </Icon>
);
export const UndoIcon = () => (
  <Icon>
    <path d="M7 4 3.5 7.5 7 11M4 7.5h7.5a4.25 4.25 0 0 1 0 8.5H8" />
  </Icon>
);
export const RedoIcon = () => (
  <Icon>
    <path d="m13 4 3.5 3.5L13 11M16 7.5H8.5a4.25 4.25 0 0 0 0 8.5H12" />
  </Icon>
);
export const HeadingIcon = ({ level }: { level: number }) => <Letter>{`H${level}`}</Letter>;
export const BoldIcon = () => <Letter class="letter-bold">B</Letter>;
export const ItalicIcon = () => <Letter class="letter-italic">I</Letter>;
export const StrikeIcon = () => <Letter class="letter-strike">S</Letter>;
export const CodeIcon = () => (
  <Icon>
    <path d="M7 6 3 10l4 4M13 6l4 4-4 4" />
  </Icon>
);
export const BulletListIcon = () => (
  <Icon>
    <path d="M8 5h9M8 10h9M8 15h9" />
    <path d="M3.6 5h.01M3.6 10h.01M3.6 15h.01" stroke-width="2.6" />
  </Icon>
);
export const OrderedListIcon = () => (
  <Icon>
    <path d="M9 5h8M9 10h8M9 15h8" />
    <path d="M3 4l1.3-.9V8M3 12.6c.3-.8 2-.8 2 .3 0 .9-2 1.4-2 2.7h2.1" stroke-width="1.3" />
  </Icon>
);
export const QuoteIcon = () => (
  <Icon>
    <path d="M4 4v12M8 6.5h9M8 10h9M8 13.5h5" />
  </Icon>
);
export const CodeBlockIcon = () => (
  <Icon>
    <rect x="2.5" y="3.5" width="15" height="13" rx="2.5" />
    <path d="M8 8 6 10l2 2M12 8l2 2-2 2" />
  </Icon>
);
export const RuleIcon = () => (
  <Icon>
    <path d="M3 10h14" />
    <path d="M5 5.5h10M5 14.5h10" opacity=".35" />
  </Icon>
);
export const LinkIcon = () => (
  <Icon>
    <path d="M8.5 11.5a3.2 3.2 0 0 0 4.6 0l2.5-2.5A3.25 3.25 0 0 0 11 4.4l-1 1M11.5 8.5a3.2 3.2 0 0 0-4.6 0L4.4 11A3.25 3.25 0 0 0 9 15.6l1-1" />
  </Icon>
);
