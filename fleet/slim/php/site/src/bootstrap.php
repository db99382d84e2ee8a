<?php

spl_autoload_register(function (string $name): void {
    if (str_starts_with($name, 'Larder\\')) {
        $path = __DIR__ . '/' . strtr(substr($name, 7), '\\', '/') . '.php';
        if (is_file($path)) {
            require $path;
        }
    }
});
require_once 'Twig/autoload.php';
