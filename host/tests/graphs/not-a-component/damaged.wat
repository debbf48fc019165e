(component (@custom "watertight:module" "{}"))
