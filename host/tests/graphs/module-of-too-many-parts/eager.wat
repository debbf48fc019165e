(component
  (core module $m (memory 100) (func (export "run")))
  (core instance $i (instantiate $m))
  (func $run (canon lift (core func $i "run")))
  (instance $api (export "run" (func $run)))
  (export "field:run/eager@1.0.0" (instance $api)))
