// The admins: who may use this page and the API behind it, and as what.
import { all, enc, patch, post, remove, session } from "./api.js";
import { badge, confirmed, copied, dialog, empty, field, form, h, table, time, toast } from "./dom.js";

const ROLES = [["viewer", "viewer: reads everything"], ["operator", "operator: tenants, keys, settings"], ["owner", "owner: admins, too"]];

export function admins() {
  async function load(refresh) {
    const rows = await all("admins");
    const make = session.owns && h("button.main", { click: () => create(refresh) }, "New admin");
    const act = (what) => (event) => what().then(refresh).catch((error) => toast(error.message)).finally(() => event.target.blur());
    const actions = (admin) => h("div.row",
      roles(admin.role, `Role of ${admin.name}`, (role) => act(() => patch(`admins/${enc(admin.id)}`, { role }))),
      h("button", { "aria-label": `New token for ${admin.name}`, click: act(() => rotate(admin)) }, "New token"),
      h("button.danger", { "aria-label": `Remove ${admin.name}`, click: act(() => take_out(admin)) }, "Remove"));
    const columns = [
      ["Name", "", ({ name }) => name], ["Role", "", ({ role }) => badge(role)], ["Token", "", ({ prefix, last4 }) => h("code", `${prefix}…${last4}`)],
      ["Works", "", ({ expires_at_ms: ends }) => (ends == null ? "does not expire" : ends <= Date.now() ? badge("expired", "bad") : ["until ", time(ends)])],
      ["Made", "", ({ created_at_ms }) => time(created_at_ms)], ...(session.owns ? [[".Actions", "", actions]] : [])];
    return [
      h("div.bar", h("div", h("h1", "Admins"), h("p.lead", "Beside them stands the bootstrap owner, whose token the gateway was started with.")), make),
      h("section", rows.length ? table("Admins", columns, rows) : empty("No admins yet", h("p", session.owns ? "Give each operator a token of their own: the audit log then says who changed what." : "An owner can make one.")))];
  }
  return { title: "Admins", load };
}

function roles(chosen, label, change) {
  const options = ROLES.map(([value, name]) => h("option", { value, selected: value === chosen }, name));
  return h("select", { name: "role", "aria-label": label, ...(change && { change: (event) => change(event.target.value)(event) }) }, options);
}

function create(refresh) {
  dialog("New admin", (close) => {
    const name = h("input", { name: "name", required: true, autocomplete: "off" });
    const role = roles("viewer", "Role");
    const submit = async () => {
      const made = await post("admins", { name: name.value, role: role.value });
      close();
      show_token(made);
      refresh();
    };
    return form(h("div.fields", field("Name", name), field("Role", role)), "Create", submit);
  });
}

async function rotate(admin) {
  if (!(await confirmed("Make a new token?", `The present token of ${admin.name} stops working at once.`, "Make it"))) return;
  show_token(await post(`admins/${enc(admin.id)}/rotate`, {}));
}

async function take_out(admin) {
  if (await confirmed("Remove this admin?", `The token of ${admin.name} stops working at once, and for good.`, "Remove it")) await remove(`admins/${enc(admin.id)}`);
}

function show_token({ name, token }) {
  dialog(`The token of ${name}`, (close) => h("div", h("p", "It is shown this once."), copied(token, "Copy the token"), h("div.row", h("button.main", { click: close }, "Done"))));
}
