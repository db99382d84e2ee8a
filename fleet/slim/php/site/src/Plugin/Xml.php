<?php

namespace Larder\Plugin;

final class Xml
{
    public const TYPE = 'application/xml';

    public function write(array $dishes): string
    {
        $document = new \DOMDocument();
        $root = $document->appendChild($document->createElement('dishes'));
        foreach ($dishes as $name => $price) {
            $root->appendChild($document->createElement('dish', $name))->setAttribute('price', (string) $price);
        }
        return (string) simplexml_import_dom($document)->asXML();
    }
}
