// Candidates in the order of their cosines, and what a cosine means, as in voiceface.metrics.impostor_scores.
export function unit(vector) { let sum = 0; for (const value of vector) sum += value * value; return Float64Array.from(vector, (value) => value / Math.sqrt(sum)); }
const dot = (a, b) => { let sum = 0; for (let i = 0; i < a.length; i++) sum += a[i] * b[i]; return sum; };

function percentile(score, { quantiles, probabilities, pairs }) {
  const most = pairs / (pairs + 1), count = quantiles.length;
  if (score >= quantiles[count - 1]) return most;
  if (score <= quantiles[0]) return probabilities[0];
  const after = quantiles.findIndex((value) => value > score), before = after - 1;
  const share = (score - quantiles[before]) / (quantiles[after] - quantiles[before]);
  return Math.min(most, probabilities[before] + share * (probabilities[after] - probabilities[before]));
}

function verdict(best, size, { significance }) {
  const chance = best > 0 ? -Math.expm1(size * Math.log(best)) : 1;
  const of = size === 1 ? "a single impostor" : `the best of ${size} impostors`;
  return `${chance < significance ? "the best candidate stands out" : "nothing stands out"}: ${of} would score this high with probability ${Number(chance.toPrecision(2))}`;
}

// `entries`: {id, name, person, vector of unit length}; `person` of the query, or "".
export function rank(vector, entries, person, top, impostors, scope) {
  const query = unit(vector);
  const sorted = entries.map((each) => ({ each, score: dot(query, each.vector) })).sort((a, b) => b.score - a.score || (a.each.name < b.each.name ? -1 : 1));
  const candidates = sorted.map(({ each, score }, i) => ({ rank: i + 1, id: each.id, name: each.name, score, percentile: impostors ? percentile(score, impostors) : null, is_right: Boolean(person) && each.person === person, scope, note: "" }));
  const right = candidates.find((each) => each.is_right);
  return { gallery_size: candidates.length, candidates: candidates.slice(0, top), right_rank: right ? right.rank : null, verdict: impostors ? verdict(candidates[0].percentile, candidates.length, impostors) : "" };
}
