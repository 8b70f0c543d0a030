/* A shared library, but no processor: it exports something else. */
int answer(void);
int answer(void) { return 42; }
