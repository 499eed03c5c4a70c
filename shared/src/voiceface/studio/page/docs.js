// The description of the API, drawn from openapi.json without anything from outside.
import { el } from "./dom.js";

const nameOf = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(nameOf).join(" or ");
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(", ");
  if (schema.type === "array") return schema.items ? `list of ${nameOf(schema.items)}` : "list";
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  return schema.format === "binary" || schema.contentMediaType ? "file" : schema.type || "any";
};
const linked = (schema) => {
  const name = nameOf(schema);
  const target = name.split(" ").pop();
  return document.getElementById(`type-${target}`) || types.has(target) ? el("a", { href: `#type-${target}` }, name) : el("span", {}, name);
};
const rows = (head, lines) => el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": head[0] }, el("table", {},
  el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))),
  el("tbody", {}, ...lines.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell)))))));

const api = await (await fetch("/openapi.json")).json();
const types = new Set(Object.keys(api.components.schemas));
document.getElementById("about").textContent = api.info.description.replaceAll("`", "");
const place = document.getElementById("routes");
place.replaceChildren();
const groups = new Map();
for (const [path, methods] of Object.entries(api.paths)) for (const [method, route] of Object.entries(methods)) {
  const tag = route.tags?.[0] || "other";
  if (!groups.has(tag)) groups.set(tag, []);
  groups.get(tag).push({ path, method: method.toUpperCase(), route });
}
for (const [tag, routes] of groups) {
  place.append(el("h2", {}, tag[0].toUpperCase() + tag.slice(1)));
  for (const { path, method, route } of routes) {
    const card = el("article", { class: "card route" }, el("h3", {}, el("span", { class: "badge" }, method), " ", el("code", {}, path)), el("p", {}, route.description || route.summary));
    if (route.parameters?.length) card.append(rows(["parameter", "where", "type", "meaning"], route.parameters.map((each) => [
      el("code", {}, each.name), each.in, linked(each.schema), [each.description || "", each.schema.default !== undefined ? `default: ${each.schema.default}` : ""].filter(Boolean).join("; ")])));
    const body = Object.entries(route.requestBody?.content || {})[0];
    if (body) {
      const schema = body[1].schema;
      const form = schema.$ref && api.components.schemas[nameOf(schema)];
      card.append(el("p", {}, "Body: ", el("code", {}, body[0]), ", ", body[0].startsWith("multipart") && form ? `field ${Object.keys(form.properties).join(", ")}` : linked(schema)));
    }
    const answer = Object.entries(route.responses).find(([status]) => status.startsWith("2"));
    const content = Object.values(answer?.[1].content || {})[0];
    card.append(el("p", {}, `Answer ${answer[0]}: `, content?.schema && nameOf(content.schema) !== "any" ? linked(content.schema) : (path.endsWith("answers") ? el("a", { href: "#type-Answer" }, "stream of Answer") : answer[0] === "204" ? "nothing" : "file")));
    place.append(card);
  }
}
place.append(el("h2", {}, "Types"));
for (const [name, schema] of Object.entries(api.components.schemas)) {
  if (name.startsWith("Body_") || !schema.properties) continue;
  place.append(el("article", { class: "card route", id: `type-${name}` }, el("h3", {}, el("code", {}, name)), el("p", {}, schema.description || ""),
    rows(["field", "type", "meaning"], Object.entries(schema.properties).map(([field, each]) => [el("code", {}, field), linked(each), each.description || ""]))));
}
if (location.hash) document.querySelector(location.hash)?.scrollIntoView();
