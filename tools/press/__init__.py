"""The press: executes the chapters that changed, fills in what was measured, renders the pages."""
