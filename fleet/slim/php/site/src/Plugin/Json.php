<?php

namespace Larder\Plugin;

final class Json
{
    public const TYPE = 'application/json';

    public function write(array $dishes): string
    {
        return json_encode($dishes, JSON_UNESCAPED_UNICODE);
    }
}
