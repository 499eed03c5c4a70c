// Files results.json of evaluations, read by the browser alone: checked before anything is shown.
export const MAIN = { match: "accuracy", verify: "auc", retrieval: "map" };
const LARGEST = 64 * 2 ** 20, MOST_LISTS = 1000, MOST_IDENTITIES = 100000;

function need(condition, what) { if (!condition) throw new Error(what); }
const isNumber = (value) => value === null || value === undefined || typeof value === "number";

function readList(each) {
  need(each && typeof each === "object", "a list is no record");
  for (const name of ["name", "kind", "direction", "stratum"]) need(typeof each[name] === "string", `a list has no ${name}`);
  const { name, kind, direction, stratum } = each;
  need(Object.hasOwn(MAIN, kind), `${name}: unknown kind ${kind.slice(0, 40)}`);
  const metric = each.metrics?.[MAIN[kind]];
  need(metric && typeof metric === "object", `${name}: no ${MAIN[kind]}`);
  for (const field of ["value", "chance", "low", "high"]) need(isNumber(metric[field]), `${name}: ${field} is no number`);
  need(Array.isArray(each.identities) && each.identities.length <= MOST_IDENTITIES, `${name}: no identities`);
  const identities = each.identities.map((one) => {
    need(typeof one?.name === "string" && isNumber(one.value) && isNumber(one.trials), `${name}: an identity without name, value and trials`);
    return [one.name, one.value, one.trials];
  });
  return { name, kind, direction, stratum, metrics: { [MAIN[kind]]: metric }, identities };
}

export async function readResults(file) {
  need(file.size <= LARGEST, `larger than ${LARGEST / 2 ** 20} MB`);
  const values = JSON.parse(await file.text());
  need(String(values?.format).startsWith("voiceface-results-"), "it states no format voiceface-results");
  need(Array.isArray(values.lists) && values.lists.length <= MOST_LISTS, "it has no lists");
  return { protocol: String(values.protocol ?? "").slice(0, 200), lists: values.lists.map(readList) };
}
