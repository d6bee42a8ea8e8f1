// What the server answers, and the line of the page that says what went wrong.

// An answer as it is, or an error with the line that the server sent.
export async function answer(response) {
  if (response.ok) return response;
  let problem = `the server answered ${response.status}`;
  try { problem = (await response.json()).error ?? problem; } catch { /* no JSON */ }
  throw Object.assign(new Error(problem), { status: response.status });
}

export function say(problem) {
  const line = document.getElementById("message");
  line.textContent = problem ?? "";
  line.classList.toggle("hidden", !problem);
}

// What a piece of work gives; null if it failed, which the page then says if it matters. The server answers 409 to a
// request that a newer one has replaced.
export async function attempt(work, matters = (error) => error.status !== 409) {
  try {
    say(null);
    return await work();
  } catch (error) {
    if (matters(error)) say(error.message);
    return null;
  }
}
