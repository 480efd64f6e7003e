// The theme names these buttons by aria-label but shows other words (WCAG 2.5.3, label in name).
document.addEventListener("DOMContentLoaded", () => {
  document
    .querySelectorAll("summary[aria-label='Toggle hidden content'], .search-button-field, .theme-switch-button")
    .forEach((element) => element.removeAttribute("aria-label"));
  // A list whose entries are no list items; the entries have a role of their own (doc-biblioentry).
  document.querySelectorAll(".citation-list[role='list']").forEach((element) => element.removeAttribute("role"));
});
