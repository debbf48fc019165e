module watertight/guest

go 1.25.0
