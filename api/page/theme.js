// Runs before the first paint, so that a chosen theme does not flash.
{
  const STORED = 'turnwire:theme'
  const dark = matchMedia('(prefers-color-scheme: dark)')
  const stored = () => { try { return localStorage.getItem(STORED) } catch { return null } }
  const apply = () => { document.documentElement.dataset.theme = stored() ?? (dark.matches ? 'dark' : 'light') }
  apply()
  dark.addEventListener('change', apply)
  addEventListener('storage', apply)
  addEventListener('turnwire:theme', () => {
    const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'
    try { localStorage.setItem(STORED, next) } catch { /* it lasts until the page is left */ }
    document.documentElement.dataset.theme = next
  })
}
