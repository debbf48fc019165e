// Loads the OpenAPI document of the running generation, shows it with Swagger UI, and sends tries by the admin listener.
//
// The token stays in a variable of this script: no cookie and no storage has it, so no other page and no later one can use it.

"use strict";

(() => {
  const base = document.baseURI;
  const form = document.getElementById("open");
  const input = document.getElementById("token");
  const button = document.getElementById("load");
  const state = document.getElementById("state");
  const PREFIX = "try-";
  let token = "";

  /** The settings of every request: nothing that the browser keeps goes along, and no answer is followed elsewhere. */
  const careful = { credentials: "omit", cache: "no-store", redirect: "error", referrerPolicy: "no-referrer" };

  /**
   * Shows parameters that Swagger UI passes over. By OpenAPI, `Authorization` is no parameter but a security scheme.
   */
  function withAuthorization(described) {
    const methods = ["get", "head", "post", "put", "patch", "delete", "options"];
    const operations = Object.values(described.paths).flatMap((path) => methods.flatMap((method) => path[method] ?? []));
    for (const operation of operations) {
      const isIt = (parameter) => parameter.in === "header" && parameter.name.toLowerCase() === "authorization";
      if (operation.parameters?.some(isIt)) {
        operation.parameters = operation.parameters.filter((parameter) => !isIt(parameter));
        operation.security = [{ authorization: [] }];
        described.components.securitySchemes = {
          authorization: { type: "apiKey", in: "header", name: "Authorization" },
        };
      }
    }
    return described;
  }

  /**
   * Turns a request to the data listener into a try. Headers get a prefix, because a browser sets or forbids some of them, and because
   * `Authorization` has the admin token.
   */
  function toTry(request) {
    // The name of a path may have a host after `#`. The query stands after that.
    const target = new URL(request.url.replace(/#[^?]*/, ""), base);
    const headers = {};
    for (const [name, value] of Object.entries(request.headers ?? {})) {
      headers[name.toLowerCase() === "content-type" ? name : PREFIX + name] = value;
    }
    headers[`${PREFIX}host`] = target.host;
    headers.authorization = `Bearer ${token}`;
    // `URL` has resolved `..` in the target's path, so the address stays below `openapi/try`.
    const url = new URL(`openapi/try${target.pathname}${target.search}`, base).href;
    return Object.assign(request, careful, { url, headers });
  }

  /** Shows the headers of the answer as the data listener gave them. */
  function fromTry(response) {
    const given = Object.entries(response.headers ?? {});
    const described = ["content-type", "content-length", "content-encoding"];
    const headers = {};
    for (const [name, value] of given) {
      if (name.startsWith(PREFIX)) {
        headers[name.slice(PREFIX.length)] = value;
      } else if (described.includes(name)) {
        headers[name] = value;
      }
    }
    const isAnswered = given.some(([name]) => name === `${PREFIX}watertight-generation`);
    state.textContent = isAnswered
      ? `Generation ${headers["watertight-generation"]} answered the last try.`
      : "The admin listener refused the last try.";
    response.headers = headers;
    return response;
  }

  function show(spec) {
    SwaggerUIBundle({
      spec,
      dom_id: "#document",
      presets: [SwaggerUIBundle.presets.apis],
      // By default, Swagger UI sends the document to a validator on the Internet.
      validatorUrl: null,
      tryItOutEnabled: true,
      displayRequestDuration: true,
      // The page shows the request to the data listener, without the token.
      showMutatedRequest: false,
      requestInterceptor: toTry,
      responseInterceptor: fromTry,
    });
  }

  async function load() {
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(new URL("openapi/document.json", base), { ...careful, headers });
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      throw new Error(problem.detail ?? `status ${answer.status}`);
    }
    const described = await answer.json();
    document.title = `${described.info.title}: OpenAPI`;
    show(withAuthorization(described));
    state.textContent = `Version ${described.info.version}. Load it again after a change of the application.`;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token = input.value.trim();
    state.textContent = "Loading…";
    load().then(
      () => {
        button.textContent = "Load again";
      },
      (error) => {
        state.textContent = `The document can't be loaded: ${error.message}`;
      },
    );
  });
})();
