// The address of the page is its state, so that a link leads to exactly this view.

export const NOTHING = {
  kinds: [], low: 0, high: 1, smallest: 0, largest: 2 ** 53, categories: [], search: "", source: null, reason: "", sort: "plan",
};
const LONGEST = 1024; // Characters of a text that the server takes.

// The part of a filter that differs from no filter.
export function chosen(wanted) {
  return Object.fromEntries(Object.entries(wanted).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(NOTHING[name])));
}

export const linkOf = (state) => `#${encodeURIComponent(JSON.stringify({ ...state, wanted: chosen(state.wanted) }))}`;

const among = (choices) => (value) => choices.includes(value);
const listOf = (choices) => (value) => Array.isArray(value) && value.length <= choices.length && value.every(among(choices));
const isText = (value) => typeof value === "string" && value.length <= LONGEST;
const isName = (value) => value === null || isText(value);
const isUnit = (value) => typeof value === "number" && value >= 0 && value <= 1;
const isArea = (value) => Number.isInteger(value) && value >= 0 && value <= NOTHING.largest;
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// What a filter may hold, for a database.
function checksOf(facts, sorts) {
  return {
    kinds: listOf(Object.keys(facts.kinds)),
    categories: listOf(facts.categories.map(([name]) => name)),
    source: among([null, ...Object.keys(facts.sources).map(Number)]),
    reason: among(["", ...Object.keys(facts.reasons)]),
    sort: among(sorts),
    search: isText,
    low: isUnit,
    high: isUnit,
    smallest: isArea,
    largest: isArea,
  };
}

// Values that pass their checks, and defaults for the others, whose names are added to `wrong`.
function checked(given, checks, defaults, wrong) {
  const values = { ...defaults };
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(checks, name)) wrong.add("unknown words");
    else if (checks[name](value)) values[name] = value;
    else wrong.add(name);
  }
  return values;
}

// The state that a link asks for, and a line that says what of it cannot be used; "" if all can.
export function linkedState(hash, databases, sorts) {
  const wrong = new Set();
  let given = null;
  try { given = JSON.parse(decodeURIComponent(hash.slice(1)) || "{}"); } catch { /* no JSON */ }
  if (!isObject(given)) return { state: linkedState("", databases, sorts).state, problem: "This link cannot be read; all images are shown." };
  const checks = { database: among([...databases.keys()]), wanted: isObject, image: isName, mask: isName };
  const state = checked(given, checks, { database: 0, wanted: {}, image: null, mask: null }, wrong);
  state.wanted = checked(state.wanted, checksOf(databases[state.database], sorts), NOTHING, wrong);
  if (state.wanted.low > state.wanted.high) {
    Object.assign(state.wanted, { low: NOTHING.low, high: NOTHING.high });
    wrong.add("low").add("high");
  }
  return { state, problem: wrong.size ? `Part of this link cannot be used here and is left out: ${[...wrong].join(", ")}.` : "" };
}
